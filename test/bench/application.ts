import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Pool } from 'pg';
import { parseMigrationFile } from '../../src/config/migration-file.ts';
import type { Migration } from '../../src/migration/status.store.ts';
import { round } from './server.ts';

export interface LoadOptions {
  readonly url: string;
  readonly table: string;
  /** ids 1 … rows are there */
  readonly rows: number;
  readonly sessions: number;
  /** transactions a second; null: as many as there is room for */
  readonly rate: number | null;
  readonly onlyUpdates?: boolean;
}

/** What the application saw between two questions; times in ms. */
export interface LoadWindow {
  readonly seconds: number;
  /** of each whole transaction */
  readonly latencies: readonly number[];
  /** transactions that wrote */
  readonly writes: number;
  readonly longestStatement: number;
  /** what it has done since it began; errors by code and message */
  readonly totals: {
    readonly updates: number;
    readonly inserts: number;
    readonly deletes: number;
    readonly errors: Readonly<Record<string, number>>;
  };
}

/** The load generator, at work. */
export class Load {
  readonly #child: ChildProcess;
  readonly #exit: Promise<unknown>;
  readonly #disconnected: Promise<unknown>;

  constructor(options: LoadOptions) {
    this.#child = fork(fileURLToPath(new URL('./load.ts', import.meta.url)), [JSON.stringify(options)], {
      execArgv: ['--import', 'tsx'],
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    this.#exit = once(this.#child, 'exit');
    this.#disconnected = once(this.#child, 'disconnect');
  }

  /** What happened since the last call. */
  cut(): Promise<LoadWindow> {
    return this.#ask('cut');
  }

  /** Ends it when every transaction has its answer. */
  async stop(): Promise<LoadWindow> {
    const last = await this.#ask('stop');
    await this.#exit;
    return last;
  }

  async #ask(what: 'cut' | 'stop'): Promise<LoadWindow> {
    const answer = new Promise<LoadWindow>((resolve) =>
      this.#child.once('message', (message) => resolve(message as LoadWindow)),
    );
    this.#child.send(what);
    // The end of the channel, which comes after its last message; that of the process may be heard of before.
    const ended = this.#disconnected.then(() => Promise.reject(new Error('the load generator has ended')));
    return Promise.race([answer, ended]);
  }
}

/**
 * `public.accounts` (or another name) with `rows` rows, and the empty `…_v2`: same columns, another type, so that the
 * application's statements mean the same before and after.
 */
export async function createAccounts(pool: Pool, rows: number, name = 'accounts'): Promise<void> {
  await pool.query(
    `create table public.${name} (id bigint primary key, amount integer not null, note text, at timestamptz not null);
     create table public.${name}_v2 (id bigint primary key, amount numeric(12,2) not null, note text, at timestamptz not null)`,
  );
  await pool.query(
    `insert into public.${name} select g, g % 1000, 'note of account ' || g, now() from generate_series(1, $1::int) g`,
    [rows],
  );
  await pool.query(`vacuum (analyze) public.${name}`);
  await pool.query('checkpoint');
}

/** A migration of them. */
export const accountsFile = (given: object = {}) =>
  parseMigrationFile({
    name: 'accounts',
    source: 'public.accounts',
    target: 'public.accounts_v2',
    key: ['id'],
    map: { amount: 'amount::numeric(12,2)' },
    ...given,
  });

/** A gate that is open as soon as there is a shadow: no query log here, and nothing to learn from it. */
export const openGate = {
  confidence: { threshold: 0, fieldThreshold: 0, consecutive: 1 },
  cutover: { reads: 'when-confident', writes: 'auto' },
} as const;

/** Windows as one. */
export function together(windows: readonly LoadWindow[]) {
  const latencies = windows.flatMap((window) => window.latencies).sort((a, b) => a - b);
  const seconds = windows.reduce((sum, window) => sum + window.seconds, 0);
  const writes = windows.reduce((sum, window) => sum + window.writes, 0);
  const at = (share: number) => round(latencies[Math.floor((latencies.length - 1) * share)] ?? Number.NaN, 1);
  return {
    seconds: round(seconds, 1),
    transactions_per_s: Math.round(latencies.length / seconds),
    writes_per_s: Math.round(writes / seconds),
    p50_ms: at(0.5),
    p99_ms: at(0.99),
    longest_ms: at(1),
  };
}

/** What was done must be what is there: rows and sum of amounts, by the application's own count. */
export async function balance(
  pool: Pool,
  rows: number,
  done: LoadWindow['totals'],
  table = 'public.accounts',
): Promise<{ rows: number; amount: number }> {
  const { rows: found } = await pool.query<{ n: number; amount: number }>(
    `select count(*)::float8 as n, sum(amount)::float8 as amount from ${table}`,
  );
  const begun = await pool.query<{ amount: number }>(
    'select sum(g % 1000)::float8 as amount from generate_series(1, $1::int) g',
    [rows],
  );
  const is = found[0] as (typeof found)[0];
  return {
    rows: is.n - (rows + done.inserts - done.deletes),
    amount: round(is.amount - ((begun.rows[0]?.amount ?? 0) + done.updates), 2),
  };
}

/** Where a migration is: its status, and the part of it while it is in progress. */
export const phaseOf = (migration: Migration | null): string =>
  migration?.status === 'IN_PROGRESS'
    ? (migration.phase as string)
    : (migration?.status.toLowerCase() ?? 'starting');
