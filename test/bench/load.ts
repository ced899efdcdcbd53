import pg from 'pg';
import type { LoadOptions, LoadWindow } from './application.ts';

/**
 * An application, in a process of its own: short transactions on one table, from several sessions at once, either paced
 * (each is due at its moment, and its latency counts from then, so that waiting for a session counts too) or as many as
 * there is room for. Answers each message with what happened since the last one.
 */
const options = JSON.parse(process.argv[2] as string) as LoadOptions;
const { table, rows, rate, onlyUpdates } = options;

/** of one transaction, in ms */
let latencies: number[] = [];
let longestStatement = 0;
let since = performance.now();
let writes = 0;
const totals = { updates: 0, inserts: 0, deletes: 0, errors: {} as Record<string, number> };
const started = performance.now();
let due = 0;
let over = false;

const below = (n: number) => Math.floor(Math.random() * n);

async function session(number: number): Promise<void> {
  const client = new pg.Client({ connectionString: options.url, application_name: `bench load ${number}` });
  await client.connect();
  const query = async (text: string, values?: unknown[]) => {
    const asked = performance.now();
    const result = await client.query(text, values);
    longestStatement = Math.max(longestStatement, performance.now() - asked);
    return result;
  };
  const update = async () => {
    await query(`update ${table} set amount = amount + 1, at = now() where id = $1`, [1 + below(rows)]);
    totals.updates += 1;
  };
  const read = () => query(`select * from ${table} where id = $1`, [1 + below(rows)]);
  const own: number[] = [];
  let next = rows * (10 + number);
  /** returns whether it wrote */
  async function transaction(): Promise<boolean> {
    const turn = below(100);
    if (onlyUpdates) await update();
    else if (turn < 20) {
      await read();
      return false;
    } else if (turn < 70) await update();
    else if (turn < 80) {
      await query('begin');
      await query(`update ${table} set amount = amount + 1, at = now() where id = $1`, [1 + below(rows)]);
      await read();
      await query('commit');
      totals.updates += 1;
    } else if (turn < 90 || !own.length) {
      const id = next++;
      await query(`insert into ${table} (id, amount, note, at) values ($1, 0, 'fresh', now())`, [id]);
      own.push(id);
      totals.inserts += 1;
    } else {
      await query(`delete from ${table} where id = $1`, [own.shift()]);
      totals.deletes += 1;
    }
    return true;
  }
  while (!over) {
    let from = performance.now();
    if (rate) {
      from = started + (due++ * 1000) / rate;
      const early = from - performance.now();
      if (early > 0) await new Promise((resolve) => setTimeout(resolve, early));
    }
    try {
      if (await transaction()) writes += 1;
    } catch (error) {
      const { code, message } = error as { code?: string; message: string };
      const name = `${code ?? 'none'} ${message}`;
      totals.errors[name] = (totals.errors[name] ?? 0) + 1;
      await client.query('rollback');
    }
    latencies.push(Math.round((performance.now() - from) * 100) / 100);
  }
  await client.end();
}

function window(): LoadWindow {
  const seconds = (performance.now() - since) / 1000;
  const result: LoadWindow = { seconds, latencies, writes, longestStatement, totals };
  latencies = [];
  longestStatement = 0;
  writes = 0;
  since = performance.now();
  return result;
}

const sessions = Array.from({ length: options.sessions }, (_, number) => session(number));
process.on('message', async (message) => {
  if (message === 'stop') {
    over = true;
    await Promise.all(sessions);
  }
  process.send?.(window(), () => message === 'stop' && process.disconnect());
});
