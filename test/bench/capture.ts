import {
  type BenchReport,
  type BenchServer,
  createTables,
  median,
  round,
  shadowing,
  timed,
} from './server.ts';

const rounds = 5;
const perRound = 2000;

/** Single-row updates, four sessions at once, with and without capture (and the lanes that consume its log). */
export async function capture({ ctx, pool }: BenchServer, rows: number): Promise<BenchReport> {
  await createTables(pool, rows);
  await pool.query('create table public.apart (like public.bench including all)');
  await pool.query('insert into public.apart select * from public.bench');
  await pool.query('vacuum (analyze) public.apart');
  const run = await shadowing(ctx);
  const plain: number[] = [];
  const captured: number[] = [];
  for (let i = 0; i < rounds; i++) {
    plain.push(await timed(() => update('public.apart')));
    captured.push(await timed(() => update('public.bench')));
  }
  run.lanes?.check();
  await run.close();
  const rate = (ms: readonly number[]) => round((4 * perRound) / (median(ms) / 1000), 0);
  return {
    rows,
    rounds,
    plain_updates_per_s: rate(plain),
    captured_updates_per_s: rate(captured),
    ratio: round(rate(captured) / rate(plain)),
  };

  async function update(table: string): Promise<void> {
    await Promise.all(
      Array.from({ length: 4 }, async (_, session) => {
        const client = await pool.connect();
        for (let i = 0; i < perRound; i++) {
          const id = 1 + ((i * 7919 + session * 104729) % rows);
          await client.query(`update ${table} set cents = cents + 1 where id = $1`, [id]);
        }
        client.release();
      }),
    );
  }
}
