import { describe, expect, it } from 'vitest';
import { referencesBefore, schedule } from '../../src/model/schedule.ts';
import { choosePredictor } from '../../src/model/select.ts';

describe('choosing a predictor', () => {
  const ewma = [0.5, 0.6, 0.55];

  it('leaves the EWMA only for a mean gain above one standard error', () => {
    const steady = choosePredictor({ ewma, network: [0.52, 0.62, 0.58] });
    expect(steady.predictor).toBe('network');
    expect(steady.gains.network!.mean).toBeCloseTo(0.02333, 4);
    expect(steady.gains.network!.standardError).toBeCloseTo(0.00333, 4);
    expect(steady.reason).toContain('network beats the EWMA');
    expect(choosePredictor({ ewma, network: [0.7, 0.5, 0.55] }).predictor).toBe('ewma');
    expect(choosePredictor({ ewma, lfu: [0.4, 0.5, 0.5] }).predictor).toBe('ewma');
    expect(choosePredictor({ ewma, network: ewma, mix: ewma, lfu: ewma }).predictor).toBe('ewma');
  });

  it('takes the largest gain among those that proved themselves', () => {
    const choice = choosePredictor({
      ewma,
      lfu: [0.51, 0.61, 0.56],
      mix: [0.54, 0.63, 0.59],
      network: [0.9, 0.5, 0.3],
    });
    expect(choice.predictor).toBe('mix');
  });

  it('says so when there are too few windows', () => {
    const choice = choosePredictor({ ewma: [0.5, 0.6], network: [0.9, 0.9] });
    expect(choice).toEqual({
      predictor: 'ewma',
      reason: 'validating needs 3 past windows; the log holds 2',
      gains: {},
    });
  });
});

describe('schedule', () => {
  it('has every label window end before what it is used for', () => {
    for (const history of [0, 0.4, 1, 1.6, 2, 3.7, 4.5, 5, 6.5, 9, 40]) {
      const plan = schedule(history);
      for (const offset of [...plan.tuning, ...plan.validation, ...plan.references]) {
        expect(offset - 1).toBeGreaterThanOrEqual(0);
        expect(history - offset).toBeGreaterThanOrEqual(0.5);
      }
      for (const offset of plan.validation) {
        const references = referencesBefore(history, offset);
        expect(references.length).toBeGreaterThan(0);
        for (const reference of references) expect(reference - 1).toBeGreaterThanOrEqual(offset);
      }
    }
  });

  it('does with what there is', () => {
    expect(schedule(1)).toMatchObject({ tuning: [], validation: [], references: [] });
    expect(schedule(2)).toMatchObject({ tuning: [1.5, 1.25, 1], validation: [], references: [1] });
    expect(schedule(5)).toMatchObject({
      tuning: [4, 3, 2, 1],
      validation: [3, 2, 1],
      references: [4, 3, 2, 1],
    });
    expect(schedule(30).references).toEqual([15, 11, 8, 6, 4, 3, 2, 1]);
  });
});
