import { expect, test } from 'vitest';
import type { Access } from '../../src/core/access.ts';
import { seededRng } from '../../src/core/rng.ts';
import type { Migration } from '../../src/migration/status.store.ts';
import type { Manifest } from '../../src/model/index.ts';
import type { Choice } from '../../src/pipeline/choice.ts';
import { Trials } from '../../src/pipeline/trials.ts';
import type { Rival, Selection } from '../../src/shadow/coverage.ts';

const names = Array.from({ length: 1000 }, (_, i) => String(i));
/** By the scores, the first 400 of 1000 rows get half of the accesses. */
const predictive = Float64Array.from(names, (_, i) => (i < 400 ? 1.5 : 1));
const migration = { definition: { shadow: { seed: 1 } } } as Migration;

/** A model for 400 rows, chosen for so many, and 5000 accesses that fall on all rows alike. */
function driftWith(calibration: Partial<Manifest['calibration']>, rows = 400) {
  const manifest = {
    created_at: '2026-01-01T00:00:00Z',
    budget: 0.4,
    table_rows: 1000,
    training: { keys: 900 },
    change_weight: 1,
    calibration: { score: [1, 1.5], mean: [1, 1.5], unseen_share: 0, ...calibration },
  } as Manifest;
  const signals = { keys: names, predictive, frequency: predictive, change: predictive };
  const selection: Selection = new Set(names.slice(0, rows));
  const rivals = new Map<Rival, Selection>([
    ['lfu', selection],
    ['ewma', selection],
  ]);
  const trials = new Trials();
  trials.begin(
    { chosenAt: 100, at: 100, signals, manifest, rivals: () => rivals } as Choice,
    migration,
    rivals,
  );
  const rng = seededRng(1);
  const access = (): Access => ({ key: String(Math.floor(rng() * 1000)), op: 'R', at: 101 });
  trials.observe(Array.from({ length: 5000 }, access));
  return trials.drift(0)?.drift ?? null;
}

const surely = { deviation: 0.02, windows: 4 };

test('what the scores let expect, and past windows do not contradict, is held against a model', () => {
  const drift = driftWith({ past: { share: 0.5, weight: 0.5 }, error: surely });
  expect(drift).toMatchObject({ against: 'prediction', other: expect.closeTo(0.5, 10) });
  expect(drift!.realised).toBeCloseTo(0.4, 1);
});

test('a bias that past windows showed is taken off first: it is known, and no drift', () => {
  expect(driftWith({ past: { share: 0.36, weight: 0.5 }, error: surely })).toBeNull();
});

test('hit shares that swung as much on past windows are no drift either', () => {
  expect(driftWith({ past: { share: 0.5, weight: 0.5 }, error: { deviation: 0.1, windows: 4 } })).toBeNull();
});

test('nothing is promised where no error is known, nor for a choice of another size', () => {
  expect(driftWith({})).toBeNull();
  expect(driftWith({ past: { share: 0.5, weight: 0.5 }, error: surely }, 200)).toBeNull();
});
