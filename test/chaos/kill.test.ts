import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import type { TestDatabase } from '../support/database.ts';
import type { Child } from './child.ts';
import { type Place, placeOf, underWriters, until } from './ledger.ts';
import { below } from './writers.ts';

/** A run to the end. Lanes are being shot at meanwhile, so one that gives up is started again. */
async function complete(db: TestDatabase, run: (...flags: string[]) => Child): Promise<void> {
  for (let attempt = 1; (await placeOf(db)).status !== 'COMPLETED'; attempt++) {
    const child = run('--json');
    const code = await child.ended;
    if (code !== 0 && attempt >= 3) throw new Error(`exit ${code}: ${child.output.stderr}`);
  }
}

describe('run, killed', () => {
  it('ten times in a row at random moments, with lanes shot all along, loses nothing', async () => {
    const seen: string[] = [];
    let shots = 0;
    await underWriters('killed', async ({ db }, run) => {
      const shooting = { over: false };
      const shooter = (async () => {
        while (!shooting.over) {
          await sleep(200 + below(400));
          if (shooting.over || db.pool.ended) return;
          const { rowCount } = await db.pool.query(
            `select pg_terminate_backend(pid) from (select pid from pg_stat_activity
              where datname = current_database() and application_name = 'foreshadow lane' order by random() limit 1) a`,
          );
          shots += rowCount ?? 0;
        }
      })();
      // A random moment of a random length is mostly a moment of copying; the short phases are lain in wait for.
      const ambushes: (Partial<Place> | null)[] = [
        { status: 'SHADOWING' },
        null,
        null,
        { status: 'IN_PROGRESS', phase: 'copy' },
        null,
        null,
        { phase: 'index' },
        { phase: 'verify' },
        { phase: 'ready' },
        { phase: 'ready' },
      ];
      for (const [i, ambush] of ambushes.entries()) {
        const child = run();
        let over = false;
        void child.ended.then(() => (over = true));
        if (ambush === null) await sleep(1500 + below(2500));
        else
          await until(JSON.stringify(ambush), 90, async () => {
            const place = await placeOf(db);
            return (
              over || Object.entries(ambush).every(([key, value]) => place[key as keyof Place] === value)
            );
          });
        await sleep(below(ambush === null ? 1 : 150));
        const { status, phase } = await placeOf(db);
        child.process.kill('SIGKILL');
        seen.push(
          `${i + 1}: ${status}/${phase}${over ? ` (had ended: ${child.output.stderr.slice(-300)})` : ''}`,
        );
        await child.ended;
      }
      await complete(db, run);
      shooting.over = true;
      await shooter;
    });
    process.stdout.write(`kills: ${seen.join(', ')}; lanes shot: ${shots}\n`);
    expect(shots).toBeGreaterThan(5);
  }, 240_000);

  it('stopped and continued after another has taken over: the zombie does not write', async () => {
    await underWriters('zombie', async ({ db }, run) => {
      const holders = async () =>
        (
          await db.pool.query<{ pid: number }>('select holder_pid as pid from foreshadow.lane order by lane')
        ).rows.map((row) => row.pid);
      let runner = run();
      await until(
        'a copy that is under way',
        90,
        async () =>
          (await placeOf(db)).phase === 'copy' &&
          ((await db.pool.query('select 1 from foreshadow.range_1 where copied > 0 limit 1')).rowCount ?? 0) >
            0,
      );
      await db.pool.query(`
        create table audit (pid int, at timestamptz default clock_timestamp());
        create function audit() returns trigger language plpgsql as
          'begin insert into public.audit (pid) values (pg_backend_pid()); return null; end';
        create trigger audit after insert or update or delete on foreshadow.t for each row execute function audit()`);
      for (let round = 0; round < 2; round++) {
        const zombies = await holders();
        await sleep(below(100));
        runner.process.kill('SIGSTOP');
        const successor = run('--take-over');
        await until('a successor', 30, async () =>
          (await holders()).every((pid) => pid !== null && !zombies.includes(pid)),
        );
        const { rows: now } = await db.pool.query<{ at: string }>('select clock_timestamp()::text as at');
        runner.process.kill('SIGCONT');
        const code = await Promise.race([runner.ended, sleep(8000).then(() => 'still alive')]);
        expect(code, runner.output.stderr).toBe(5);
        const { rows: written } = await db.pool.query(
          'select count(*)::int as n from audit where pid = any ($1) and at > $2',
          [zombies, now[0]?.at],
        );
        expect(written).toEqual([{ n: 0 }]);
        runner = successor;
      }
      const { rows: written } = await db.pool.query(
        'select count(*)::int as n from audit where pid = any ($1)',
        [await holders()],
      );
      expect(written[0].n, 'the successor does write').toBeGreaterThan(0);
      await until('a chance to take the trigger off', 10, async () =>
        db.pool.query(`set lock_timeout = 100; drop trigger audit on foreshadow.t`).then(
          () => true,
          () => false,
        ),
      );
      expect(await runner.ended, runner.output.stderr).toBe(0);
    });
  }, 200_000);
});
