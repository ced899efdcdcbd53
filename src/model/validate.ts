import type { Access } from '../core/access.ts';
import { FeatureEngine } from '../features/engine.ts';
import type { FeatureSpec } from '../features/spec.ts';
import type { Tensorflow } from './backend.ts';
import { type Expectation, ewmaExpectation, lfuExpectation, worth, worths } from './expectation.ts';
import { fitNetwork } from './fit.ts';
import type { Shares } from './manifest.ts';
import { disposeNetwork } from './network.ts';
import type { Breathe } from './pace.ts';
import { correct, networkShare, skipColumns } from './predictor.ts';
import { replay } from './replay.ts';
import { drawSamples, joinSamples, type Samples } from './samples.ts';
import { referencesBefore, type Schedule } from './schedule.ts';
import { topPositions } from './top.ts';
import { countWindow, type FutureCounts } from './windows.ts';

/** The past as every step of training sees it. */
export interface Past {
  /** sorted; nothing at or after T is in it */
  readonly log: readonly Access[];
  readonly spec: FeatureSpec;
  readonly schedule: Schedule;
  /** offset → seconds */
  readonly timeOf: (offset: number) => number;
  /** offset → position of the first access at or after it */
  readonly positionOf: (offset: number) => number;
  readonly seed: number;
  readonly changeWeight: number;
  /** rows that a choice may hold when `seen` keys are known */
  readonly rowsOf: (seen: number) => number;
  readonly breathe: Breathe;
}

export interface WindowMetrics {
  /** horizons before T */
  readonly offset: number;
  /** where the window begins, seconds */
  readonly at: number;
  /** size of the choice */
  readonly rows: number;
  shares: Shares;
}

export interface Survey {
  /** the engine at T */
  readonly engine: FeatureEngine;
  /** by half-life index, one a tuning window: hit shares of the EWMA */
  readonly ewma: readonly (readonly number[])[];
  /** one a tuning window: what the other baselines reached */
  readonly metrics: readonly WindowMetrics[];
  /** by offset of the reference */
  readonly samples: ReadonlyMap<number, Samples>;
  /** one a tuning window: expected counts of a key that had not been seen, summed over all such keys */
  readonly unseen: readonly { readonly seen: number; readonly accesses: number; readonly changes: number }[];
}

/** Plays the log once: tries every half-life on past windows and draws the training rows. */
export async function survey(past: Past, sampleLimit: number): Promise<Survey> {
  const { log, spec, schedule, seed, breathe } = past;
  const engine = new FeatureEngine(spec);
  const samples = new Map<number, Samples>();
  const references = new Set(sampleLimit > 0 ? schedule.references : []);
  for (const offset of schedule.validation) {
    for (const reference of referencesBefore(schedule.history, offset)) references.add(reference);
  }
  const perReference = Math.ceil(sampleLimit / Math.max(1, schedule.references.length));
  const ewma: number[][] = spec.accessHalfLives.map(() => []);
  const metrics: WindowMetrics[] = [];
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
    const judge = judgeOf(past, engine, future);
    for (const [index, shares] of ewma.entries()) {
      shares.push(judge.expected(ewmaExpectation(engine, at, index)));
      await breathe();
    }
    metrics.push({ offset, at, rows: judge.rows, shares: await baselineShares(engine, at, judge, breathe) });
    unseen.push({ seen: engine.size, accesses: future.unseenAccesses, changes: future.unseenChanges });
  });
  return { engine, ewma, metrics, samples, unseen };
}

/**
 * Plays the log again and lets a network, trained on what lay before each validation window, choose for it.
 * @returns hit shares of network and mix, one a validation window
 */
export async function validateNetwork(
  tensorflow: Tensorflow,
  past: Past,
  samples: ReadonlyMap<number, Samples>,
  halfLife: number,
  options: { readonly rows: number; readonly epochs: number },
): Promise<{ network: number[]; mix: number[] }> {
  const { log, spec, schedule, seed, breathe } = past;
  const engine = new FeatureEngine(spec);
  const shares = { network: [] as number[], mix: [] as number[] };
  const stops = schedule.validation.map(past.positionOf);
  await replay(engine, log, stops, breathe, async (n) => {
    const offset = schedule.validation[n]!;
    const at = past.timeOf(offset);
    const rows = samplesAt(samples, referencesBefore(schedule.history, offset), options.rows);
    const skip = skipColumns(engine, halfLife);
    const { network } = await fitNetwork(tensorflow, rows, { skip, seed, breathe, epochs: options.epochs });
    const judge = judgeOf(past, engine, await futureOf(past, engine, offset));
    for (const name of ['network', 'mix'] as const) {
      const expected = ewmaExpectation(engine, at, halfLife);
      await correct(tensorflow, network, engine, at, expected, networkShare[name], breathe);
      shares[name].push(judge.expected(expected));
    }
    disposeNetwork(network);
  });
  return shares;
}

function futureOf(past: Past, engine: FeatureEngine, offset: number): Promise<FutureCounts> {
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

interface Judge {
  readonly rows: number;
  scores(scores: ArrayLike<number>): number;
  expected(expected: Expectation): number;
  oracle(): number;
}

/** Lets scores choose among the keys seen so far, and returns the share of the window's accesses that they hit. */
function judgeOf(past: Past, engine: FeatureEngine, future: FutureCounts): Judge {
  const { changeWeight, seed } = past;
  const values = worths(future, changeWeight);
  const total = worth(future.allAccesses, future.allChanges, changeWeight);
  const rows = past.rowsOf(engine.size);
  const scores = (ranking: ArrayLike<number>) => {
    let hits = 0;
    for (const slot of topPositions(engine.keys(), ranking, rows, seed)) hits += values[slot]!;
    return total > 0 ? hits / total : 0;
  };
  return {
    rows: Math.min(rows, engine.size),
    scores,
    expected: (expected) => scores(worths(expected, changeWeight)),
    oracle: () => scores(values),
  };
}

async function baselineShares(
  engine: FeatureEngine,
  at: number,
  judge: Judge,
  breathe: Breathe,
): Promise<Shares> {
  const random = judge.scores(new Float64Array(engine.size));
  await breathe();
  const lru = judge.scores(engine.lastAccess());
  await breathe();
  const lfu = judge.expected(lfuExpectation(engine, at));
  await breathe();
  return { random, lru, lfu, oracle: judge.oracle() };
}
