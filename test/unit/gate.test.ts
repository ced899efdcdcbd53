import { describe, expect, test } from 'vitest';
import { type GateInput, triggerMigration } from '../../src/migration/gate.ts';

/** A gate that nothing holds. */
const open: GateInput = {
  report: { holds: true, reasons: [] },
  inARow: 3,
  needed: 3,
  wanted: 100,
  present: 100,
  filled: true,
  backlog: 0,
  lagSeconds: 0.1,
  horizonSeconds: 900,
  modelAgeSeconds: 60,
  logLagSeconds: 0.2,
};
const reasons = (change: Partial<GateInput>) => {
  const gate = triggerMigration({ ...open, ...change });
  expect(gate.open).toBe(gate.reasons.length === 0);
  return gate.reasons;
};

test('opens when nothing is in the way', () => {
  expect(reasons({})).toEqual([]);
});

describe('the age of the model', () => {
  test.each([
    ['a horizon of 15 min', 900, 14_400, '4.1 h', '4.0 h'],
    ['a day', 86_400, 16 * 86_400, '384.1 h', '384.0 h'],
    ['seconds: never less than ten minutes', 10, 600, '11.5 min', '10.0 min'],
  ])('holds it with %s', (_, horizonSeconds, oldest, age, most) => {
    expect(reasons({ horizonSeconds, modelAgeSeconds: oldest })).toEqual([]);
    const late = horizonSeconds === 10 ? 690 : oldest + 360;
    expect(reasons({ horizonSeconds, modelAgeSeconds: late })).toEqual([
      `the model is ${age} old, and at most ${most} are allowed; a training is overdue: see the events and the jobs of this migration for why it does not end`,
    ]);
  });

  test('is no matter without a model', () => {
    expect(reasons({ modelAgeSeconds: null })).toEqual([]);
  });
});

describe('the lag of the features', () => {
  test('holds it beyond half a minute, or a tenth of the horizon', () => {
    expect(reasons({ logLagSeconds: 90 })).toEqual([]);
    expect(reasons({ logLagSeconds: 95 })).toEqual([
      'the end of the query log was last reached 95 s ago, and prediction may lag by at most 90 s; see that a process mines the log and keeps up with it',
    ]);
    expect(reasons({ horizonSeconds: 15, logLagSeconds: 29 })).toEqual([]);
    expect(reasons({ horizonSeconds: 15, logLagSeconds: 31 })).toHaveLength(1);
  });

  test('is no matter without a query log', () => {
    expect(reasons({ logLagSeconds: null })).toEqual([]);
  });
});

test('says all that is in the way, not only the first', () => {
  const found = reasons({
    report: null,
    filled: false,
    present: 98,
    backlog: 20_001,
    lagSeconds: 6,
    modelAgeSeconds: 1e6,
    logLagSeconds: 1e6,
  });
  expect(found).toHaveLength(7);
  expect(reasons({ inARow: 2 })).toEqual([expect.stringMatching(/confident in 2 of 3 evaluations/)]);
});
