import { describe, expect, it } from 'vitest';
import { calculateMigrationConfidenceLevel, changeRateFactor } from '../../src/confidence/level.ts';
import type { FieldMeasurement, Measurement } from '../../src/confidence/measurement.ts';
import { seededRng } from '../../src/core/rng.ts';

const f = (...values: number[]) => Float64Array.from(values);
const settings = { threshold: 0.95, fieldThreshold: 0.85, weights: { similarity: 0.7, changeRate: 0.3 } };

/** N 100,000, A 10,000, 4,000 random members; `off` moves that share of B from the first bin to the second. */
function field(name: string, off = 0, weight = 1): FieldMeasurement {
  const moved = Math.round(1000 * off * 4);
  return {
    name,
    kind: 'number',
    space: 'raw',
    weight,
    checked: 'raw',
    facets: [
      {
        source: [f(0, 50_000, 25_000, 25_000)],
        a: f(0, 5000, 2500, 2500),
        b: f(0, 2000 - moved, 1000 + moved, 1000),
      },
    ],
  };
}

function measured(over: Partial<Measurement> = {}): Measurement {
  const counts = { a: { checked: 10_000, found: 0 }, b: { checked: 4000, found: 0 } };
  return {
    strata: { N: 100_000, nA: 10_000 },
    absentA: 0,
    piEff: 0.04,
    randomMembers: 4000,
    fields: [field('a'), field('b')],
    unmeasured: [],
    changedKeys: 0,
    sync: { ...counts, examples: [] },
    map: counts,
    checks: [],
    checksSampled: false,
    source: { rows: 100_000, rowsError: 0, method: 'scan', sampledRows: 100_000, takenAt: 1 },
    ...over,
  };
}

const judge = (over: Partial<Measurement> = {}, set = settings) =>
  calculateMigrationConfidenceLevel(measured(over), set, seededRng(1));

describe('calculateMigrationConfidenceLevel', () => {
  it('weighs similarity and calm, in all three numbers', () => {
    const report = judge({ fields: [field('a', 0.1, 3), field('b', 0, 1)], changedKeys: 2000 });
    expect(report.similarity_score).toBeCloseTo((3 * (1 - 0.09) + 1) / 4, 12);
    expect(report.change_rate_factor).toBeCloseTo(0.98, 12);
    expect(report.level).toBeCloseTo(0.7 * report.similarity_score + 0.3 * 0.98, 12);
    expect(report.lower).toBeCloseTo(0.7 * report.similarity_lower + 0.3 * 0.98, 12);
    expect(report.upper).toBeCloseTo(0.7 * report.similarity_upper + 0.3 * 0.98, 12);
    const [a, b] = report.fields;
    expect(report.similarity_lower).toBeCloseTo((3 * a!.lower + b!.lower) / 4, 12);
    expect(report.effective_sample_size).toBeCloseTo(4000 / 0.9 ** 2, 6);
  });

  it('gives the same numbers for the same snapshot', () => {
    expect(judge()).toEqual(judge());
  });

  it('holds when nothing is short', () => {
    const report = judge();
    expect(report.reasons).toEqual([]);
    expect(report.holds).toBe(true);
    expect(report.lower).toBeGreaterThan(0.95);
    expect(report.defects.sync.upper_bound).toBeCloseTo(0.9 * (1 - 0.05 ** (1 / 4000)), 12);
  });

  it('takes the least similar facet of a field', () => {
    const twoFacets = {
      ...field('note', 0.2),
      facets: [...field('note').facets, ...field('note', 0.2).facets],
    };
    const report = judge({ fields: [twoFacets] });
    expect(report.fields[0]!.similarity).toBeCloseTo(1 - 0.18, 12);
  });

  it('compares the lower bound, not the level, with the threshold', () => {
    const fields = [field('a', 0.03)];
    const level = judge({ fields }).level;
    const between = judge({ fields }, { ...settings, threshold: level - 0.001 });
    expect(between.level).toBeGreaterThan(between.threshold);
    expect(between.lower).toBeLessThan(between.threshold);
    expect(between.holds).toBe(false);
    expect(between.reasons[0]).toMatchObject({ term: 'level', needed: level - 0.001 });
    expect(between.reasons[0]!.short_by).toBeCloseTo(between.threshold - between.lower, 12);
  });

  it('names a dead field that the mean hides', () => {
    const fields = [...Array.from({ length: 9 }, (_, i) => field(`f${i}`)), field('dead', 0.45)];
    const report = judge({ fields }, { ...settings, threshold: 0.9 });
    expect(report.lower).toBeGreaterThan(0.9);
    expect(report.reasons.map(({ term, name }) => [term, name])).toEqual([['field', 'dead']]);
    expect(report.reasons[0]!.clear).toContain('map of dead');
  });

  it('blames the size of the sample, not the map, when a faithful shadow would be short too', () => {
    const starved: FieldMeasurement = {
      ...field('a'),
      facets: [{ source: [f(0, 50_000, 25_000, 25_000)], a: f(0, 5000, 2500, 2500), b: f(0, 11, 5, 4) }],
    };
    const report = judge({ fields: [starved], randomMembers: 20 });
    const reason = report.reasons.find(({ term }) => term === 'field')!;
    expect(reason.clear).toContain('more random members than 20');
    const level = report.reasons.find(({ term }) => term === 'level')!;
    expect(level.clear).toMatch(/about \d+ random members instead of 20/);
  });

  it('says that the source moves when that is the larger loss', () => {
    const report = judge({ changedKeys: 30_000 });
    expect(report.change_rate_factor).toBeCloseTo(0.7, 12);
    expect(report.reasons[0]!.clear).toContain('30000 keys changed');
  });

  it('says that the shadow differs when that is the larger loss', () => {
    const report = judge({ fields: [field('a', 0.3)] });
    expect(report.reasons[0]!.clear).toContain('differs from the source');
  });

  it('compares NULL shares, which a mean of distances would hide', () => {
    const nulls: FieldMeasurement = {
      ...field('a'),
      facets: [{ source: [f(0, 50_000, 50_000)], a: f(0, 5000, 5000), b: f(40, 1960, 2000) }],
    };
    const report = judge({ fields: [nulls] }, { ...settings, threshold: 0.9 });
    expect(report.fields[0]!.lower).toBeGreaterThan(0.85);
    expect(report.reasons.map(({ term }) => term)).toEqual(['nulls']);
    // as many keys changed since the source was measured: they may have become NULL
    expect(judge({ fields: [nulls], changedKeys: 2000 }, { ...settings, threshold: 0.9 }).holds).toBe(true);
  });

  it('keeps sync and map defects apart, and opens for neither', () => {
    const found = { a: { checked: 10_000, found: 1 }, b: { checked: 4000, found: 2 } };
    const sync = judge({ sync: { ...found, examples: [['7'], ['8', 'x']] } });
    expect(sync.defects.sync.found).toBe(3);
    expect(sync.defects.map.found).toBe(0);
    expect(sync.accuracy).toBeCloseTo(1 - 3 / 14_000, 12);
    expect(sync.reasons.map(({ term }) => term)).toEqual(['sync']);
    expect(sync.reasons[0]!.message).toContain('7, (8, x)');
    const map = judge({
      map: found,
      checks: [
        { kind: 'back', name: 'a', found: 0, nulls: 0, examples: [] },
        { kind: 'invariant', name: 'kept', found: 3, nulls: 1, examples: [['9']] },
      ],
    });
    expect(map.accuracy).toBe(1);
    expect(map.reasons.map(({ term, name }) => [term, name])).toEqual([['map', 'kept']]);
    expect(map.reasons[0]!.message).toBe(
      'invariant kept fails on 3 members (1 of them NULL instead of true), such as 9',
    );
  });

  it('has no level to show for a table without a comparable field', () => {
    const report = judge({ fields: [] });
    expect(report).toMatchObject({ similarity_score: 0, holds: false });
    expect(report.reasons.map(({ term }) => term)).toEqual(['level', 'unmeasured']);
  });

  it('notes what nothing checks', () => {
    const report = judge({ fields: [{ ...field('a'), checked: 'unchecked' }] });
    expect(report.holds).toBe(true);
    expect(report.notes[0]).toContain('errors of the map in a would not show');
  });

  it('is plain JSON', () => {
    const report = judge({ fields: [field('a', 0.4)] });
    expect(JSON.parse(JSON.stringify(report))).toEqual(report);
  });
});

describe('changeRateFactor', () => {
  it('is the share of keys that stayed', () => {
    expect(changeRateFactor(250, 1000)).toBe(0.75);
    expect(changeRateFactor(5000, 1000)).toBe(0);
    expect(changeRateFactor(0, 0)).toBe(1);
    expect(changeRateFactor(1, 0)).toBe(0);
  });
});
