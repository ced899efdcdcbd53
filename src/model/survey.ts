import type { FeatureEngine } from '../features/engine.ts';
import { groupHalfLives } from '../features/spec.ts';
import type { WindowBins } from './calibration.ts';
import { type Expectation, ewmaExpectation, groupExpectation, lfuExpectation } from './expectation.ts';
import { type Budget, type Judge, type Judged, judgeOf } from './judge.ts';
import type { Shares } from './manifest.ts';
import type { Breathe } from './pace.ts';
import type { Past } from './past.ts';
import { replay } from './replay.ts';
import { drawSamples, joinSamples, type Samples } from './samples.ts';
import { countWindow, type FutureCounts } from './windows.ts';

export interface WindowMetrics {
  /** horizons before T */
  readonly offset: number;
  /** where the window begins, seconds */
  readonly at: number;
  /** size of the choice, one a budget */
  readonly rows: readonly number[];
  /** what the baselines without a half-life reached, one a budget */
  readonly shares: readonly Shares[];
  /** share of its accesses on rows that had not been seen when it began: it falls as a log grows */
  readonly unseenShare: number;
}

/** What one way of scoring did on the tuning windows. */
export interface Tried {
  /** hit shares, one a tuning window, one a budget */
  readonly shares: number[][];
  /** one a tuning window */
  readonly bins: WindowBins[];
}
export const tried = (): Tried => ({ shares: [], bins: [] });
export function noteTrial(tried: Tried, { shares, bins }: Judged): void {
  tried.shares.push(shares);
  tried.bins.push(bins);
}

/** By half-life index; null where a half-life is not looked at. */
export type TriedHalfLives = readonly (Tried | null)[];

export interface Survey {
  /** the engine at T */
  readonly engine: FeatureEngine;
  readonly ewma: TriedHalfLives;
  /** none at all without groups */
  readonly group: TriedHalfLives;
  readonly lfu: Tried;
  readonly windows: readonly WindowMetrics[];
  /** by offset of the reference */
  readonly samples: ReadonlyMap<number, Samples>;
  /** one a tuning window: expected counts of a key that had not been seen, summed over all such keys */
  readonly unseen: readonly { readonly seen: number; readonly accesses: number; readonly changes: number }[];
}

/** Plays the log once: tries every half-life on past windows and draws the training rows. */
export async function survey(past: Past, budgets: readonly Budget[], sampleLimit: number): Promise<Survey> {
  const { log, spec, schedule, seed, breathe } = past;
  const engine = past.newEngine();
  const samples = new Map<number, Samples>();
  const final = schedule.referencesBefore(0);
  const references = new Set(sampleLimit > 0 ? final : []);
  for (const { offset } of schedule.validation) {
    for (const reference of schedule.referencesBefore(offset)) references.add(reference);
  }
  const perReference = Math.ceil(sampleLimit / Math.max(1, final.length));
  const ewma = spec.accessHalfLives.map(tried);
  const group = spec.accessHalfLives.map((h) =>
    spec.grouped && (groupHalfLives as readonly number[]).includes(h) ? tried() : null,
  );
  const lfu = tried();
  const windows: WindowMetrics[] = [];
  const unseen: { seen: number; accesses: number; changes: number }[] = [];
  const offsets = [...new Set([...schedule.tuning, ...references])].sort((a, b) => b - a);
  await replay(engine, log, offsets.map(past.positionOf), breathe, async (n) => {
    const offset = offsets[n]!;
    const at = past.timeOf(offset);
    const future = await futureOf(past, engine, offset);
    if (references.has(offset)) {
      samples.set(offset, await drawSamples(engine, at, future, perReference, seed + n, breathe));
    }
    if (!schedule.tuning.includes(offset)) return;
    const judge = judgeOf(past, engine, future, budgets);
    const note = async (tried: Tried, expected: Expectation) => {
      noteTrial(tried, judge.expected(expected));
      await breathe();
    };
    for (let i = 0; i < ewma.length; i++) {
      await note(ewma[i]!, ewmaExpectation(engine, at, i));
      if (group[i]) await note(group[i]!, groupExpectation(engine, at, i));
    }
    await note(lfu, lfuExpectation(engine, at));
    const shares = await baselineShares(engine, judge, breathe);
    windows.push({ offset, at, rows: judge.rows, shares, unseenShare: judge.unseenShare });
    unseen.push({ seen: engine.size, accesses: future.unseenAccesses, changes: future.unseenChanges });
  });
  return { engine, ewma, group, lfu, windows, samples, unseen };
}

export function futureOf(past: Past, engine: FeatureEngine, offset: number): Promise<FutureCounts> {
  return countWindow(engine, past.log, past.positionOf(offset), past.positionOf(offset - 1), past.breathe);
}

/** Joins the samples of some references, at most `limit` rows in all. */
export function samplesAt(
  samples: ReadonlyMap<number, Samples>,
  references: readonly number[],
  limit: number,
): Samples {
  const parts = references.map((reference) => samples.get(reference)!);
  return joinSamples(parts, Math.ceil(limit / Math.max(1, parts.length)));
}

async function baselineShares(engine: FeatureEngine, judge: Judge, breathe: Breathe): Promise<Shares[]> {
  const random = judge.scores(new Float64Array(engine.size));
  await breathe();
  const lru = judge.scores(engine.lastAccess());
  await breathe();
  const oracle = judge.oracle();
  return judge.rows.map((_, i) => ({
    random: random[i]!,
    lru: lru[i]!,
    oracle: oracle[i]!,
  }));
}
