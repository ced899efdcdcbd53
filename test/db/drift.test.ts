import { expect, test } from 'vitest';
import { appendAccesses } from '../../src/access/store.queries.ts';
import type { Access } from '../../src/core/access.ts';
import { getMigration } from '../../src/migration/status.store.ts';
import { describeMigration } from '../../src/migration/status.ts';
import { loadTensorflow, Predictor } from '../../src/model/index.ts';
import { learn, trainingIsDue } from '../../src/pipeline/learning.ts';
import { Live } from '../../src/pipeline/live.ts';
import { performTask } from '../../src/pipeline.ts';
import { migrationDatabase, migrationOf } from '../support/migrations.ts';

const setup = `
  create table s (id int primary key, v int);
  create table t (id bigint primary key, v int);
  insert into s select g, g from generate_series(1, 5000) g;`;

const use = (from: number, to: number, times: number, at: number, span: number): Access[] =>
  Array.from({ length: (to - from) * times }, (_, i) => ({
    key: String(from + (i % (to - from))),
    op: 'R',
    at: at + (span * i) / ((to - from) * times),
  }));

test('a model that loses to a plain rule is said to, once, and trained anew a horizon after the last training', async () => {
  const db = await migrationDatabase(setup);
  const { ctx } = db;
  const file = migrationOf({
    predict: { horizon: '60s' },
    shadow: { fraction: 0.02 },
    cutover: { reads: 'operator' },
  });
  await db.run(file, { until: 'READY' });
  const status = () => getMigration(ctx.pool, 'm');
  const { id } = await status();
  const report = (accesses: Access[]) => appendAccesses(ctx.pool, id, 'reported', accesses);
  const began = ctx.clock.now();
  // for an hour the application used the rows up to 1000; since a minute ago it uses others
  await report(use(1, 1001, 5, began - 3700, 3600));
  await report(use(2001, 2101, 3, began - 60, 59));
  const learnt = await learn(ctx, await status());
  if (!learnt) throw new Error('it was enough to learn from');
  // a model that was good for the hour: it goes by all accesses ever
  const wrong = new Predictor(await loadTensorflow(), learnt.predictor.network, {
    ...learnt.predictor.manifest,
    predictor: 'lfu',
    calibration: { score: [], mean: [], unseen_share: 0 },
  });
  const live = new Live(ctx, { version: learnt.version, predictor: wrong });
  const resample = async () =>
    performTask(ctx, await status(), 'resample', { live, force: true, seconds: 60 });
  const events = async () =>
    (
      await db.pool.query(
        "select detail->>'message' as message from foreshadow.migration_event where kind = 'drift'",
      )
    ).rows.map((row) => row.message);

  await resample();
  await report(use(2001, 2101, 8, ctx.clock.now(), 0.001));
  await resample();
  expect(await events()).toEqual([]); // too little to tell
  const before = await status();
  const tried = (before.train_tried_at as Date).getTime() / 1000;
  expect(trainingIsDue(before, tried + 61)).toBe(false);

  await report(use(2001, 2101, 8, ctx.clock.now(), 0.001));
  await resample();
  await resample();
  const message = expect.stringMatching(
    /^the model's rows got \d+\.\d % of the latest 1600 accesses, less than the \d+\.\d % that the plain EWMA would .*; it is trained anew$/,
  );
  expect(await events()).toEqual([message]);
  expect((await describeMigration(ctx.pool, 'm')).model).toMatchObject({
    version: learnt.version,
    drift: { against: 'ewma', accesses: 1600 },
  });
  const after = await status();
  expect(trainingIsDue(after, tried + 59)).toBe(false);
  expect(trainingIsDue(after, tried + 61)).toBe(true);

  const again = await learn(ctx, after);
  expect((await status()).model).toMatchObject({ version: again?.version });
  expect((await status()).model).not.toHaveProperty('drift');
  again?.predictor.dispose();
  live.dispose();
}, 90_000);
