import pg from 'pg';
import { seededRng } from '../../src/core/rng.ts';
import type { OperationRecord } from '../../src/demo/record.ts';

export interface DriftOptions {
  /** ids 1 … rows are there */
  readonly rows: number;
  /** neighbouring rows that are hot at the same time */
  readonly together: number;
  /** groups of such rows that the centre of heat moves past in a minute */
  readonly drift: number;
}

/** A group at distance d from the centre of heat is read (d + offset)^−skew times as often (Zipf–Mandelbrot). */
const skew = 1.1;
const offset = 10;
/** Reads that are late by more than this many ms are left out: after a pause of the machine there is no burst. */
const latest = 100;

/**
 * Which row is read next, by seconds since the beginning: Zipf over groups of neighbouring rows by their distance from a
 * centre that moves, uniform within a group. Neighbours in heat are no neighbours in key. Same seed, same rows.
 */
export function driftingReads({ rows, together, drift }: DriftOptions): (at: number) => number {
  const rng = seededRng(7);
  const groups = Math.max(1, Math.ceil(rows / together));
  const circle = Int32Array.from({ length: groups }, (_, i) => i);
  for (let i = groups - 1; i > 0; i--) {
    const j = Math.floor(rng() * (i + 1));
    [circle[i], circle[j]] = [circle[j] as number, circle[i] as number];
  }
  const cumulative = new Float64Array(Math.max(1, groups >> 1));
  for (let d = 0, sum = 0; d < cumulative.length; d++) cumulative[d] = sum += (d + offset) ** -skew;
  return (at) => {
    const wanted = rng() * (cumulative.at(-1) as number);
    const distance = cumulative.findIndex((sum) => sum >= wanted) * (rng() < 0.5 ? -1 : 1);
    const place = Math.floor((at / 60) * drift) + distance;
    const group = circle[((place % groups) + groups) % groups] as number;
    return Math.min(rows, 1 + group * together + Math.floor(rng() * together));
  };
}

const sessions = 4;

/** Paced reads of single rows by their key, in the server's log, and a record of each. */
export class Reads {
  readonly records: OperationRecord[] = [];
  #over = false;
  readonly #sessions: Promise<unknown>;

  constructor(url: string, rate: number, next: (at: number) => number) {
    const began = performance.now();
    let due = began;
    const session = async () => {
      const client = new pg.Client({ connectionString: url, application_name: 'bench reads' });
      await client.connect();
      await client.query("set log_statement = 'all'");
      while (!this.#over) {
        due = Math.max(due + 1000 / rate, performance.now() - latest);
        const early = due - performance.now();
        if (early > 0) await new Promise((resolve) => setTimeout(resolve, early));
        const at = Date.now() / 1000;
        const id = next((performance.now() - began) / 1000);
        await client.query('select * from public.bench where id = $1', [id]);
        this.records.push({
          at,
          kind: 'read',
          served: 'source',
          ms: Date.now() - at * 1000,
          outcome: 'ok',
          retries: 0,
          ids: [id],
        });
      }
      await client.end();
    };
    this.#sessions = Promise.all(Array.from({ length: sessions }, session));
    this.#sessions.catch(() => undefined);
  }

  /** @throws what ended a session early */
  async stop(): Promise<readonly OperationRecord[]> {
    this.#over = true;
    await this.#sessions;
    return this.records;
  }
}
