import { hostname } from 'node:os';
import type { Client } from 'pg';
import type { Context } from '../context.ts';
import { ForeshadowError } from '../core/errors.ts';
import { isConnectionError } from '../db/sqlstate.ts';
import { dropLease, type LeaseHolder, renewLeases, takeLease } from '../migration/lease.queries.ts';

/** Renewed several times within the time that a lease holds, so that one slow answer costs nothing. */
const renewEvery = 2000;
/** Longer, and the lease has run out meanwhile. */
const answerWithin = 8000;

/** The right to do one kind of work on one migration. Lanes are fenced besides; this spares work, and is not what keeps rows safe. */
export interface Lease {
  /** aborted when another process has the lease */
  readonly signal: AbortSignal;
  release(): Promise<void>;
}

interface Held extends Lease {
  readonly migrationId: number;
  readonly kind: string;
  readonly lost: AbortController;
}

/** What this process has taken in hand; one connection, whose end gives everything back at once. */
export class Leases {
  readonly holder: string;
  readonly #ctx: Context;
  readonly #held = new Map<string, Held>();
  #client: Client | null = null;
  #timer: NodeJS.Timeout | null = null;
  #work: Promise<unknown> = Promise.resolve();

  constructor(ctx: Context, name: string) {
    this.#ctx = ctx;
    this.holder = `${name} ${hostname()}:${process.pid}:${crypto.randomUUID().slice(0, 8)}`;
  }

  /** @returns the lease, or who holds it (this process too, for another piece of work) */
  async take(migrationId: number, kind: string, force = false): Promise<Lease | LeaseHolder> {
    const name = `${migrationId} ${kind}`;
    if (this.#held.has(name)) return { holder: this.holder, pid: 0, until: new Date() };
    const holder = await this.#session((client) => takeLease(client, migrationId, kind, this.holder, force));
    if (holder) return holder;
    const lost = new AbortController();
    const lease: Held = {
      migrationId,
      kind,
      lost,
      signal: lost.signal,
      release: async () => {
        if (this.#held.get(name) !== lease) return;
        this.#held.delete(name);
        if (!this.#client) return; // its session is gone, and the lease with it
        await this.#session((client) => dropLease(client, migrationId, kind, this.holder)).catch((error) =>
          this.#ctx.log.debug({ err: error }, 'a lease was not given back; it runs out by itself'),
        );
      },
    };
    this.#held.set(name, lease);
    this.#timer ??= setInterval(() => void this.#renew(), renewEvery).unref();
    return lease;
  }

  async close(): Promise<void> {
    if (this.#timer) clearInterval(this.#timer);
    this.#timer = null;
    for (const lease of [...this.#held.values()]) await lease.release();
    await this.#work.catch(() => undefined);
    const client = this.#client;
    this.#client = null;
    await client?.end().catch(() => undefined);
  }

  async #renew(): Promise<void> {
    if (!this.#held.size) return;
    try {
      const ours = await this.#session((client) => renewLeases(client, this.holder));
      const names = new Set(ours.map(({ migrationId, kind }) => `${migrationId} ${kind}`));
      for (const [name, lease] of this.#held) if (!names.has(name)) this.#lose(name, lease);
    } catch (error) {
      // Nobody else can take them while the database does not answer; once it does, it tells.
      this.#ctx.log.debug({ err: error }, 'leases could not be renewed; trying again');
    }
  }

  async #within<T>(work: Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(noAnswer()), answerWithin);
    });
    work.catch(() => undefined);
    return Promise.race([work, late]).finally(() => clearTimeout(timer));
  }

  #lose(name: string, lease: Held): void {
    this.#held.delete(name);
    lease.lost.abort(
      new ForeshadowError(
        'ALREADY_RUNNING',
        `another process has taken over ${lease.kind} of migration ${lease.migrationId}`,
      ),
    );
  }

  /** One statement at a time on the one connection, made anew when it was lost. */
  #session<T>(body: (client: Client) => Promise<T>): Promise<T> {
    const run = async () => {
      this.#client ??= await this.#ctx.connect('lease');
      try {
        return await this.#within(body(this.#client));
      } catch (error) {
        if (isConnectionError(error)) {
          const lost = this.#client;
          this.#client = null;
          void lost?.end().catch(() => undefined); // it may never answer
        }
        throw error;
      }
    };
    // A connection that was dropped without a word would keep everybody waiting until TCP gives up.
    const done = this.#work.then(run, run);
    this.#work = done.catch(() => undefined);
    return done;
  }
}

/** As pg says it of a connection that is gone. */
const noAnswer = () => new Error('Connection terminated: no answer in time');

export const isLease = (taken: Lease | LeaseHolder): taken is Lease => 'release' in taken;
