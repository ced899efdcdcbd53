import type { Client, Pool } from 'pg';
import PgBoss from 'pg-boss';
import type { Logger } from 'pino';
import { codeOf, sqlstate } from '../db/sqlstate.ts';
import { jobsChannel as channel } from '../migration/orders.ts';
import { boundSeconds, type JobKind, jobKinds, standingKinds } from './kinds.ts';

/** The queue's own schema. Nothing in it is the truth: emptied, it is rebuilt from the status tables. */
export const queueSchema = 'foreshadow_jobs';

/** Beyond its bound a job counts as lost and may be tried again; its lease keeps two from working at once. */
const expireInSeconds = 2 * boundSeconds;
/** Standing jobs are sent again by the reconciler. */
const retries = (kind: JobKind) =>
  standingKinds.includes(kind) ? { retryLimit: 0 } : { retryLimit: 5, retryDelay: 2, retryBackoff: true };

export interface Job {
  readonly id: string;
  readonly kind: JobKind;
  readonly migration: string;
  readonly state: 'created' | 'retry' | 'active' | 'completed' | 'cancelled' | 'failed';
  readonly created_at: Date;
  readonly started_at: Date | null;
  readonly completed_at: Date | null;
  readonly retry_count: number;
  /** what came of it, or why it failed */
  readonly output: unknown;
}

export interface Fetched {
  readonly id: string;
  readonly kind: JobKind;
  readonly migration: string;
  /** asked for by somebody: done even when it is not due */
  readonly force: boolean;
}

export interface JobFilter {
  readonly migration?: string;
  readonly kind?: JobKind;
  readonly state?: string;
  readonly limit: number;
  /** a job's id: those created before it */
  readonly before?: string;
}

const columns = `j.id, j.name as kind, j.singleton_key as migration, j.state::text as state, j.created_on as created_at,
  j.started_on as started_at, j.completed_on as completed_at, j.retry_count, j.output`;

/** Jobs in PostgreSQL (pg-boss): one queue a kind, in each at most one waiting job a migration. */
export class JobQueue {
  readonly #pool: Pool;
  readonly #boss: PgBoss;
  readonly #log: Logger;
  #listener: Client | null = null;

  private constructor(pool: Pool, boss: PgBoss, log: Logger) {
    this.#pool = pool;
    this.#boss = boss;
    this.#log = log;
  }

  /** @param options.tend keeps the queue's tables small, and finds jobs that were lost */
  static async open(pool: Pool, log: Logger, options: { readonly tend?: boolean } = {}): Promise<JobQueue> {
    const boss = new PgBoss({
      db: { executeSql: (text, values) => pool.query(text, values) },
      schema: queueSchema,
      supervise: options.tend ?? false,
      schedule: false,
      maintenanceIntervalSeconds: 60,
      archiveCompletedAfterSeconds: 3600,
      deleteAfterHours: 24,
    });
    boss.on('error', (error) => log.warn({ err: error }, 'job queue'));
    await boss.start();
    const queue = new JobQueue(pool, boss, log);
    await queue.ensure();
    return queue;
  }

  /** Makes queues that are missing, also after somebody has deleted them by hand. */
  async ensure(): Promise<void> {
    const { rows } = await this.#pool.query<{ name: string }>(`select name from ${queueSchema}.queue`);
    for (const kind of jobKinds) {
      if (rows.some(({ name }) => name === kind)) continue;
      const options = { name: kind, policy: 'short', expireInSeconds, ...retries(kind) } as const;
      try {
        await this.#boss.createQueue(kind, options);
      } catch (error) {
        if (codeOf(error) !== sqlstate.duplicateTable) throw error;
        await this.#dropLeftOver(kind); // its row was deleted, its table was not
        await this.#boss.createQueue(kind, options);
      }
    }
  }

  async #dropLeftOver(kind: JobKind): Promise<void> {
    await this.#pool.query(
      `do $$ begin execute format('drop table if exists ${queueSchema}.%I', 'j' || encode(sha224('${kind}'::bytea), 'hex')); end $$`,
    );
  }

  /** @returns the job's id; null when such a job is waiting already */
  async send(
    kind: JobKind,
    migration: string,
    options: { readonly force?: boolean } = {},
  ): Promise<string | null> {
    const { force = false } = options;
    const id = await this.#boss.send(kind, { force }, { singletonKey: migration });
    if (id) await this.#pool.query(`notify ${channel}`);
    else if (force) await this.#forceWaiting(kind, migration);
    return id;
  }

  async #forceWaiting(kind: JobKind, migration: string): Promise<void> {
    await this.#pool.query(
      `update ${queueSchema}.job set data = '{"force": true}' where name = $1 and singleton_key = $2 and state < 'active'`,
      [kind, migration],
    );
  }

  async fetch(kind: JobKind, most: number): Promise<Fetched[]> {
    const jobs = await this.#boss.fetch<{ force?: boolean }>(kind, {
      batchSize: most,
      includeMetadata: true,
    });
    return jobs.map(({ id, data, singletonKey }) => ({
      id,
      kind,
      migration: singletonKey ?? '',
      force: data?.force ?? false,
    }));
  }

  async complete(job: Fetched, output: object): Promise<void> {
    await this.#boss.complete(job.kind, job.id, output);
  }

  /** It is tried again a few times, later and later. */
  async fail(job: Fetched, reason: object): Promise<void> {
    await this.#boss.fail(job.kind, job.id, reason);
  }

  /** The kinds and migrations for which a job is waiting. */
  async waiting(): Promise<{ kind: JobKind; migration: string }[]> {
    const { rows } = await this.#pool.query<{ kind: JobKind; migration: string }>(
      `select distinct name as kind, singleton_key as migration from ${queueSchema}.job where state < 'active'`,
    );
    return rows;
  }

  async get(id: string): Promise<Job | null> {
    const { rows } = await this.#pool.query<Job>(
      `select ${columns} from ${queueSchema}.job j where j.id = $1
       union all select ${columns} from ${queueSchema}.archive j where j.id = $1 limit 1`,
      [id],
    );
    return rows[0] ?? null;
  }

  /** Newest first. Jobs of long ago are no longer there. */
  async list({ migration, kind, state, limit, before }: JobFilter): Promise<Job[]> {
    const { rows } = await this.#pool.query<Job>(
      `select ${columns} from ${queueSchema}.job j
        where ($1::text is null or j.singleton_key = $1) and ($2::text is null or j.name = $2)
          and ($3::text is null or j.state::text = $3)
          and ($4::uuid is null or (j.created_on, j.id) < (select b.created_on, b.id from ${queueSchema}.job b where b.id = $4))
        order by j.created_on desc, j.id desc limit $5`,
      [migration ?? null, kind ?? null, state ?? null, before ?? null, limit],
    );
    return rows;
  }

  async counts(): Promise<{ kind: JobKind; state: string; count: number }[]> {
    const { rows } = await this.#pool.query<{ kind: JobKind; state: string; count: number }>(
      `select name as kind, state::text as state, count(*)::int as count from ${queueSchema}.job group by name, state`,
    );
    return rows;
  }

  /** Calls `wake` when a job was sent by any process. Without the connection, only polling finds it. */
  async listen(connect: (role: string) => Promise<Client>, wake: (what: string) => void): Promise<void> {
    if (this.#listener) return;
    const client = await connect('jobs');
    this.#listener = client;
    client.on('notification', ({ payload }) => wake(payload ?? ''));
    client.once('end', () => {
      if (this.#listener === client) this.#listener = null;
    });
    await client.query(`listen ${channel}`);
  }

  async close(): Promise<void> {
    const listener = this.#listener;
    this.#listener = null;
    await listener?.end().catch(() => undefined);
    await this.#boss
      .stop({ graceful: false, close: false, wait: false })
      .catch((error) => this.#log.debug({ err: error }, 'job queue'));
  }
}
