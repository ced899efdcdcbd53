import { afterEach, describe, expect, it } from 'vitest';
import { armFailpoints, disarmFailpoints } from '../../src/core/failpoint.ts';
import { abort } from '../../src/migration/abort.ts';
import { cutOverWrites } from '../../src/migration/cutover/writes.ts';
import { getMigration, moveStatus } from '../../src/migration/status.store.ts';
import { type MigrationDatabase, migrationDatabase, migrationOf } from '../support/migrations.ts';

const setup = `
  create table s (id int primary key, v int not null, u text unique);
  insert into s select g, g, 'u' || g from generate_series(1, 300) g;
  create table t (id bigint primary key, v int not null, u text unique);`;
const file = migrationOf({ map: { id: 'id::bigint' } });

/** The longest that a write, or a read by the target's name, was held while `work` went on, in ms. */
async function longestHeld(db: MigrationDatabase, work: Promise<unknown>): Promise<number> {
  let over = false;
  void work.finally(() => (over = true)).catch(() => {});
  let longest = 0;
  const client = await db.client();
  while (!over) {
    const began = performance.now();
    await client.query('update s set v = v + 1 where id = 7');
    await client.query('select 1 from t where id = 7');
    longest = Math.max(longest, performance.now() - began);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await client.end();
  await work;
  return longest;
}

describe('a process that is stopped while it holds locks loses its session, and the application goes on', () => {
  afterEach(disarmFailpoints);

  it.each([
    ['installing capture', 'begin.capture-installed'],
    ['with its transaction complete', 'begin.before-commit'],
    ['giving T its unique index back', 'finish.ddl-done'],
  ])('%s', async (_, failpoint) => {
    const db = await migrationDatabase(setup);
    armFailpoints(`${failpoint}=sleep(4000)`);
    expect(await longestHeld(db, db.run(file))).toBeLessThan(2500);
    const { rows } = await db.pool.query('select status from foreshadow.migration_status');
    expect(rows).toEqual([{ status: 'COMPLETED' }]);
  });

  it('aborting', async () => {
    const db = await migrationDatabase(setup);
    await db.run(file, { until: 'READY' });
    armFailpoints('abort.taken-down=sleep(4000)');
    const { clock, pool } = db.ctx;
    expect(await longestHeld(db, abort(pool, 'm', { clock, grace: 0 }))).toBeLessThan(2500);
    const { rows } = await db.pool.query('select status from foreshadow.migration_status');
    expect(rows).toEqual([{ status: 'ABORTED' }]);
  });
});

it('a process that comes to the write cutover after another has finished it, finds it finished', async () => {
  const db = await migrationDatabase(setup);
  await db.run({ ...file, cutover: { ...file.cutover, writes: 'operator' } }, { until: 'IN_PROGRESS' });
  const late = await getMigration(db.pool, 'm');
  await db.run(file);
  const { pool, clock, connect } = db.ctx;
  const onWait = async () => {};
  const options = { pool, clock, connect: () => connect('cutover'), maxAttempts: 3, onWait };
  // it used to say that the capture trigger had been dropped, and to abort
  expect(await cutOverWrites(late, options)).toMatchObject({ status: 'COMPLETED' });
});

it('an abort does not mind that the migration goes on meanwhile', async () => {
  const db = await migrationDatabase(setup);
  const { pool, clock } = db.ctx;
  await db.run({ ...file, cutover: { ...file.cutover, writes: 'operator' } }, { until: 'IN_PROGRESS' });
  const goesOn = async () =>
    void (await moveStatus(pool, await getMigration(pool, 'm'), 'IN_PROGRESS', 'PAUSED', {
      status_before: 'IN_PROGRESS',
    }));
  // it used to give up: "is no longer IN_PROGRESS; somebody else moved it"
  const aborted = await abort(pool, 'm', { clock: { now: clock.now, sleep: goesOn }, grace: 0 });
  expect(aborted).toMatchObject({ status: 'ABORTED' });
});
