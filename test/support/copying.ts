import { setTimeout as sleep } from 'node:timers/promises';
import { onTestFinished } from 'vitest';
import type { MigrationFile } from '../../src/config/migration-file.ts';
import { type Clock, systemClock } from '../../src/core/clock.ts';
import { Throttle } from '../../src/migration/throttle/throttle.ts';
import type { Lanes } from '../../src/sync/lanes.ts';
import { type Rig, rig } from '../chaos/rig.ts';
import type { Part } from './migrations.ts';

/** A table to copy, and one that says how long a probe is to take, in seconds. */
export const slowTable = `create table s (id int primary key, v int); insert into s select g, g from generate_series(1, 20000) g;
               create table t (id bigint primary key, v int);
               create table slowness as select 0.001::float8 as s;`;
export const slowProbe = 'select pg_sleep(s) from public.slowness';

export interface Copying {
  readonly m: Rig;
  readonly lanes: Lanes;
  readonly throttle: Throttle;
  readonly said: string[];
}

/** A migration of {@link slowTable} that has begun: capture is installed, no lane runs yet. */
export async function begun(
  file: Part<MigrationFile> = { map: { id: 'id::bigint' } },
  chunkRows?: number,
): Promise<Rig> {
  const options = { setup: slowTable, file, expected: 'select id::bigint, v from s' };
  return (await rig({ ...options, ...(chunkRows === undefined ? {} : { chunkRows }) })).begin();
}

/** Lanes at the copy of 20,000 rows, slowly, under a throttle; to the end of the test. */
export async function copying(file: Part<MigrationFile> = {}, clock: Clock = systemClock): Promise<Copying> {
  const m = await begun({ map: { id: 'id::bigint' }, copy: { rowsPerSecond: 400 }, ...file }, 20);
  const lanes = m.running();
  await lanes.start();
  onTestFinished(() => lanes.stop());
  const said: string[] = [];
  const throttle = new Throttle({
    migration: await m.reload(),
    lanes,
    clock,
    log: m.db.ctx.log,
    connect: () => m.db.ctx.connect('throttle'),
    onChange: ({ reason }) => void said.push(reason ?? 'full speed'),
  });
  throttle.start();
  onTestFinished(() => throttle.stop());
  if (file.throttle?.probe) await until(() => throttle.state.baseline_ms !== null);
  await m.cutOverReads();
  await until(() => lanes.totals.copied > 0);
  return { m, lanes, throttle, said };
}

export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await sleep(5);
}
