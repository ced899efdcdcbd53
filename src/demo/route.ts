import type { Served } from './record.ts';
import { Session, stateOf } from './session.ts';
import { sourceTable, type Table, tableOf } from './statements.ts';

/** Where to read and where to write. */
export interface Route {
  readonly read: Table;
  readonly write: Table;
  readonly readServed: Served;
  readonly writeServed: Served;
}

const toSource: Route = {
  read: sourceTable,
  write: sourceTable,
  readServed: 'source',
  writeServed: 'source',
};
/** Nothing to ask yet: our schema, its function or the migration is not there. */
const notYet = ['3F000', '42883'];

/** Keeps the route fresh: asks at the start, whenever the server says that it changed, and when told to. */
export class Routing {
  current: Route = toSource;
  asked = 0;
  private readonly session: Session;
  private readonly migration: string;
  private asking: Promise<void> | null = null;

  constructor(url: string, migration: string) {
    this.migration = migration;
    this.session = new Session(url, 'demo shop routing', async (client) => {
      client.on('notification', () => void this.refresh().catch(() => {}));
      await client.query('listen foreshadow_route');
    });
  }

  async start(): Promise<void> {
    await this.session.open();
    await this.refresh();
  }

  /** Asks now; several callers at once share one question. */
  refresh(): Promise<void> {
    this.asking ??= this.ask().finally(() => {
      this.asking = null;
    });
    return this.asking;
  }

  close(): Promise<void> {
    return this.session.close();
  }

  private async ask(): Promise<void> {
    this.asked++;
    try {
      const { rows } = await this.session.query({
        text: 'select read_from::text as read, write_to::text as write from foreshadow.route($1)',
        values: [this.migration],
      });
      const row = rows[0] as { read: string | null; write: string | null } | undefined;
      this.current = row?.read && row.write ? routeOf(tableOf(row.read), tableOf(row.write)) : toSource;
    } catch (error) {
      if (!notYet.includes(stateOf(error))) throw error;
      this.current = toSource;
    }
  }
}

/** While writes go to the source, what stands under the target's name is the overlay. */
function routeOf(read: Table, write: Table): Route {
  const moved = write.format === 'new';
  return {
    read,
    write,
    readServed: read.format === 'old' ? 'source' : moved ? 'target' : 'overlay',
    writeServed: moved ? 'target' : 'source',
  };
}
