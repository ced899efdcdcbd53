import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';

/** One ordinary connection, made anew when it is lost. Runs one statement at a time. */
export class Session {
  private client: pg.Client | null = null;
  private closed = false;
  private readonly url: string;
  private readonly name: string;
  private readonly onOpen: ((client: pg.Client) => Promise<void>) | undefined;

  /** @param onOpen prepares each new connection */
  constructor(url: string, name: string, onOpen?: (client: pg.Client) => Promise<void>) {
    this.url = url;
    this.name = name;
    this.onOpen = onOpen;
  }

  async query(statement: pg.QueryConfig): Promise<pg.QueryResult<Record<string, unknown>>> {
    const client = this.client ?? (await this.open());
    try {
      return await client.query(statement);
    } catch (error) {
      // its end may not have been noticed yet; the next statement gets a new one
      if (leavesDoubt(error) && this.client === client) this.client = null;
      throw error;
    }
  }

  /** Connects, again and again until it works or the session is closed. */
  async open(): Promise<pg.Client> {
    for (let attempt = 1; ; attempt++) {
      const client = new pg.Client({
        connectionString: this.url,
        application_name: this.name,
        keepAlive: true,
      });
      const lost = () => {
        if (this.client !== client) return;
        this.client = null;
        // a listener has nothing to send that would notice
        if (this.onOpen && !this.closed) void this.open().catch(() => {});
      };
      client.on('error', lost);
      client.on('end', lost);
      try {
        await client.connect();
        await this.onOpen?.(client);
        this.client = client;
        return client;
      } catch (error) {
        await client.end().catch(() => {});
        if (this.closed || attempt === 50) throw error;
        await sleep(Math.min(500, 10 * attempt));
      }
    }
  }

  async close(): Promise<void> {
    this.closed = true;
    await this.client?.end().catch(() => {});
  }
}

/** The SQLSTATE; '' when the server did not answer at all. */
export function stateOf(error: unknown): string {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) ? code : '';
}

/** The server asks for the transaction to be sent again: nothing has happened. */
export function asksForRetry(error: unknown): boolean {
  return ['40001', '40P01'].includes(stateOf(error));
}

/** No answer, or the last one that a session gets: whether the statement has happened is not known. */
export function leavesDoubt(error: unknown): boolean {
  const state = stateOf(error);
  return state === '' || state.startsWith('08') || state.startsWith('57P');
}
