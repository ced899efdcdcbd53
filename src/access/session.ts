import { BoundedCache } from './bounded-cache.ts';
import type { StatementPlan } from './plan.ts';
import type { Scan } from './shape.ts';

/** A statement that a session has prepared in SQL: its own text's values, and its plan. */
export interface Prepared {
  readonly scan: Scan;
  readonly plan: StatementPlan;
}

interface Session {
  path: readonly string[] | undefined;
  /** SET LOCAL: until the transaction ends */
  localPath: readonly string[] | undefined;
  readonly prepared: Map<string, Prepared>;
}

const maxSessions = 5_000;
const maxPrepared = 500;

/**
 * What the log has shown of its sessions: the search paths that they set, and what they prepared in SQL. A session is
 * remembered from its first such command on; what was set before the log begins, nobody can know.
 */
export class Sessions {
  private readonly sessions = new BoundedCache<Session>(maxSessions);

  get some(): boolean {
    return this.sessions.size > 0;
  }

  pathOf(session: string): readonly string[] | undefined {
    const known = this.sessions.get(session);
    return known?.localPath ?? known?.path;
  }

  setPath(session: string, path: readonly string[] | undefined, local: boolean): void {
    const known = this.open(session);
    if (local) known.localPath = path;
    else {
      known.path = path;
      known.localPath = undefined;
    }
  }

  transactionEnds(session: string): void {
    const known = this.sessions.get(session);
    if (known) known.localPath = undefined;
  }

  prepare(session: string, name: string, prepared: Prepared): void {
    const known = this.open(session).prepared;
    if (known.size < maxPrepared) known.set(name, prepared);
  }

  prepared(session: string, name: string): Prepared | undefined {
    return this.sessions.get(session)?.prepared.get(name);
  }

  /** @param name all of them when null */
  deallocate(session: string, name: string | null): void {
    const known = this.sessions.get(session)?.prepared;
    if (name === null) known?.clear();
    else known?.delete(name);
  }

  private open(id: string): Session {
    let session = this.sessions.get(id);
    if (!session) {
      session = { path: undefined, localPath: undefined, prepared: new Map() };
      this.sessions.set(id, session);
    }
    return session;
  }
}
