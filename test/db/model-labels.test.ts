import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { getMigration } from '../../src/migration/status.store.ts';
import { loadModel, promote, rollback, saveModel, unlabel } from '../../src/model/registry.ts';
import { trainModel } from '../../src/model/train.ts';
import { Live } from '../../src/pipeline/live.ts';
import { migrationDatabase, migrationOf } from '../support/migrations.ts';
import { movingHotSet } from '../unit/model.synthetic.ts';

test('a running migration uses the promoted model, until it is rolled back or the label taken away', async () => {
  const db = await migrationDatabase(`
    create table s (id int primary key, n int);
    create table t (id bigint primary key, n int);
    insert into s select i, i from generate_series(1, 50) i;`);
  const { ctx } = db;
  await db.run(migrationOf({ predict: { horizon: '15s' } }), { until: 'SHADOWING' });
  const root = ctx.config.modelsDir;
  const options = { horizonSeconds: 15, budget: 0.1, seed: 1 } as const;
  const { predictor } = await trainModel({ ...options, accesses: movingHotSet({ seconds: 30 }), now: 30 });
  for (let i = 0; i < 3; i++) await saveModel(root, 'm', predictor);
  predictor.dispose();

  const live = new Live(ctx);
  const followed = async () => {
    await live.follow(await getMigration(ctx.pool, 'm'));
    return live.modelVersion;
  };
  /** as when this process has trained: the model is saved, the status row names it, and it is taken over */
  const learn = async (version: string) => {
    await db.pool.query('update foreshadow.migration_status set model = $1', [{ version }]);
    live.adopt(version, await loadModel(root, 'm', version));
    return live.modelVersion;
  };
  expect(await followed()).toBe('0003');
  await promote(root, 'm', '0002');
  expect(await followed()).toBe('0002');
  await promote(root, 'm', '0001');
  expect(await followed()).toBe('0001');
  expect(await learn('0003')).toBe('0001');
  expect(await followed()).toBe('0001');
  await rollback(root, 'm');
  expect(await followed()).toBe('0002');
  await unlabel(root, 'm');
  expect(await followed()).toBe('0003');
  expect(await learn('0001')).toBe('0001');

  // Damaged labels stop nothing: it is said once, and the model in use stays.
  await writeFile(join(root, 'm', 'labels.json'), '{');
  expect(await followed()).toBe('0001');
  expect(await followed()).toBe('0001');
  const { rows } = await db.pool.query(
    "select detail->>'message' as message from foreshadow.migration_event where kind = 'warning'",
  );
  expect(rows).toEqual([{ message: expect.stringMatching(/labels\.json is not JSON/) }]);
  live.dispose();
});
