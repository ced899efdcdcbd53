import { describe, expect, it } from 'vitest';
import { schedule } from '../../src/model/schedule.ts';
import { choosePredictor, pastMean } from '../../src/model/select.ts';

describe('choosing a predictor', () => {
  const ewma = [0.5, 0.6, 0.55];

  it('leaves the EWMA only for a mean gain above one standard error', () => {
    const steady = choosePredictor({ ewma, network: [0.52, 0.62, 0.58] });
    expect(steady.predictor).toBe('network');
    // the last counts 2^(1/4) as much as the one before it: (.02·.707 + .02·.841 + .03) / 2.548
    expect(steady.gains.network!.mean).toBeCloseTo(0.02392, 4);
    expect(steady.gains.network!.standardError).toBeCloseTo(0.0035, 4);
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

  it('lets late windows tell more than early ones', () => {
    const flat = [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5];
    const learnt = [0.494, 0.496, 0.498, 0.501, 0.504, 0.506, 0.508];
    const choice = choosePredictor({ ewma: flat, network: learnt });
    expect(choice.gains.network!.mean).toBeGreaterThan(0.0025);
    expect(choosePredictor({ ewma: flat, network: learnt.toReversed() }).gains.network!.mean).toBeLessThan(0);
    expect(pastMean([0.3, 0.3, 0.3])).toBeCloseTo(0.3, 12);
  });

  it('is nudged where nothing proved itself and a quarter of the network was no loss', () => {
    const wild = { ewma, network: [0.7, 0.5, 0.55], mix: [0.62, 0.55, 0.56] };
    const nudged = choosePredictor({ ...wild, nudge: [0.53, 0.58, 0.56] });
    expect(nudged.predictor).toBe('nudge');
    expect(nudged.reason).toContain('no other predictor beats the EWMA by enough');
    expect(choosePredictor({ ...wild, nudge: [0.52, 0.58, 0.54] }).predictor).toBe('ewma');
    expect(choosePredictor({ ...wild, nudge: ewma }).predictor).toBe('ewma');
    // what proved itself is better than what only did no harm
    const mix = [0.51, 0.61, 0.56];
    expect(choosePredictor({ ...wild, mix, nudge: [0.55, 0.65, 0.6] }).predictor).toBe('mix');
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

const day = 86_400;
const ungrouped = (history: number) => schedule({ history, horizonSeconds: 30 * day, seasons: [] });

describe('schedule', () => {
  it.each([
    ['without a season', 30 * day, [], []],
    ['with a week', 2 * day, ['week'], []],
    ['with a day and a week', day / 6, ['day', 'week'], []],
    ['with announced events', day / 6, ['day', 'week'], [-3, 0.2, 1.5, 7, 8.25, 40, 90]],
  ] as const)('has every label window end before what it is used for, %s', (_, horizonSeconds, seasons, events) => {
    for (const history of [0, 0.4, 1, 1.6, 2, 3.7, 4.5, 5, 6.5, 9, 40, 100, 400]) {
      const plan = schedule({ history, horizonSeconds, seasons, events });
      const windows = plan.validation.flatMap((validation) => validation.windows);
      for (const offset of [...plan.tuning, ...windows, ...plan.referencesBefore(0)]) {
        expect(offset - 1).toBeGreaterThanOrEqual(0);
        expect(history - offset).toBeGreaterThanOrEqual(0.5);
      }
      for (const { offset, windows: own } of plan.validation) {
        expect(own.every((window) => window <= offset && plan.tuning.includes(window))).toBe(true);
        const references = plan.referencesBefore(offset);
        expect(references.length).toBeGreaterThan(0);
        for (const reference of references) expect(reference - 1).toBeGreaterThanOrEqual(offset);
      }
    }
  });

  it('does with what there is', () => {
    expect(ungrouped(1)).toMatchObject({ tuning: [], validation: [] });
    expect(ungrouped(1).referencesBefore(0)).toEqual([]);
    expect(ungrouped(2)).toMatchObject({ tuning: [1.5, 1.25, 1], validation: [] });
    expect(ungrouped(2).referencesBefore(0)).toEqual([1.5, 1]);
    expect(ungrouped(5)).toMatchObject({
      tuning: [4, 3.5, 3, 2.5, 2, 1.5, 1],
      validation: [
        { offset: 3, windows: [3, 2.5] },
        { offset: 2, windows: [2, 1.5] },
        { offset: 1, windows: [1] },
      ],
    });
    expect(ungrouped(5).referencesBefore(0)).toEqual([4, 3, 2.5, 2, 1.5, 1]);
    expect(ungrouped(30).referencesBefore(0)).toEqual([15, 11, 8, 6, 4, 3, 2.5, 2, 1.5, 1]);
  });

  it('looks at the phase that the prediction will have, once the log is long enough', () => {
    const four = { horizonSeconds: day / 6, seasons: ['day', 'week'] } as const;
    expect(schedule({ ...four, history: 6 * 9 }).tuning).toEqual([42, 18, 12, 6]);
    expect(schedule({ ...four, history: 6 * 9 }).referencesBefore(0)).toContain(30);
    expect(schedule({ ...four, history: 12 }).tuning).toEqual([4, 3.5, 3, 2.5, 2, 1.5, 1]);
  });

  it('learns from the latest announced events that are over', () => {
    const events = [-5, 0.1, 1.2, 2, ...Array.from({ length: 20 }, (_, i) => 10.3 + i)];
    const plan = schedule({ history: 40, horizonSeconds: day / 6, seasons: [], events });
    const references = plan.referencesBefore(0);
    for (const begun of [1.45, 2.25, 10.55, 15.55]) expect(references).toContain(begun);
    expect(references).not.toContain(0.35);
    expect(references).not.toContain(20.55);
  });
});
