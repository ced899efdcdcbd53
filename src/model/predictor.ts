import { ForeshadowError } from '../core/errors.ts';
import type { KeyId } from '../core/key.ts';
import type { FeatureEngine } from '../features/engine.ts';
import { type FeatureSpec, featureSpecHash } from '../features/spec.ts';
import type { Tensorflow } from './backend.ts';
import {
  type Base,
  type Expectation,
  ewmaExpectation,
  groupExpectation,
  lfuExpectation,
  nearestChangeHalfLife,
  worth,
  worths,
} from './expectation.ts';
import { plainNetwork } from './forward.ts';
import type { Manifest } from './manifest.ts';
import { disposeNetwork, type Network, type NetworkShape, SCORE_BATCH } from './network.ts';
import { type Breathe, pacer } from './pace.ts';
import { Corrector } from './scoring.ts';
import { ScoringPool, scoringThreads } from './scoring-pool.ts';
import type { PredictorName } from './select.ts';

/** Scores of all keys that the engine has seen; the arrays run parallel. */
export interface Scores extends SlotScores {
  readonly keys: readonly KeyId[];
}

export interface SlotScores extends Expectation {
  /**
   * What to rank by: expected reads + changeWeight × expected changes in [now, now + horizon). Non-negative. With
   * changeWeight 1 it is `accesses`, since a change is an access too.
   */
  readonly score: Float64Array;
}

export interface UnknownScore {
  readonly accesses: number;
  readonly changes: number;
  readonly score: number;
}

/** With fewer rows a thread costs more than it spares. */
const ROWS_FOR_THREADS = 200_000;

export interface PredictorOptions {
  /** threads that score many rows together; as many as help when absent, 0: none */
  readonly threads?: number;
  /** rows from which on the threads are used */
  readonly rowsForThreads?: number;
}

/** Turns the state of a feature engine into scores. Holds tensors and, once it scored many rows, threads: dispose it. */
export class Predictor {
  readonly manifest: Manifest;
  readonly network: Network;
  readonly #tensorflow: Tensorflow;
  /** a spec whose hash was found to be the model's */
  #fits: FeatureEngine['spec'] | null = null;
  readonly #pool: ScoringPool | null;
  readonly #rowsForThreads: number;

  constructor(
    tensorflow: Tensorflow,
    network: Network,
    manifest: Manifest,
    { threads, rowsForThreads = ROWS_FOR_THREADS }: PredictorOptions = {},
  ) {
    const { name } = tensorflow.backend;
    const size = threads ?? scoringThreads(name);
    this.#pool = size > 0 ? new ScoringPool(size, name) : null;
    this.#rowsForThreads = rowsForThreads;
    this.#tensorflow = tensorflow;
    this.network = network;
    this.manifest = manifest;
  }

  /**
   * Scores every key that the engine has seen, from its state now. Gives way to other work between batches; what is
   * observed meanwhile may or may not be seen in the scores.
   * @param now seconds; the predicted window is [now, now + horizon)
   * @param as another predictor than the chosen one, for comparison
   * @throws ForeshadowError MODEL_REFUSED when the engine has another feature spec than the model, UNEXPECTED when a
   *   scoring thread fails
   */
  async score(
    engine: FeatureEngine,
    now: number,
    as: PredictorName = this.manifest.predictor,
  ): Promise<Scores> {
    const keys = engine.keys().slice();
    return { keys, ...(await this.#expect(engine, now, as)) };
  }

  /** The same for some of the engine's slots, in their order. */
  async scoreSlots(engine: FeatureEngine, now: number, slots: Int32Array): Promise<SlotScores> {
    return this.#expect(engine, now, this.manifest.predictor, slots);
  }

  async #expect(
    engine: FeatureEngine,
    now: number,
    as: PredictorName,
    slots?: Int32Array,
  ): Promise<SlotScores> {
    if (engine.spec !== this.#fits && featureSpecHash(engine.spec) !== this.manifest.feature_spec_hash) {
      throw new ForeshadowError('MODEL_REFUSED', 'the model was trained on other features than these', {
        model: this.manifest.feature_spec_hash,
        engine: featureSpecHash(engine.spec),
      });
    }
    this.#fits = engine.spec;
    const expected = isCorrecting(as)
      ? await this.#corrected(engine, now, as, slots)
      : this.#usual(engine, now, as, slots);
    return { ...expected, score: worths(expected, this.manifest.change_weight) };
  }

  async #corrected(
    engine: FeatureEngine,
    now: number,
    as: Correcting,
    slots?: Int32Array,
  ): Promise<Expectation> {
    const share = networkShare[as];
    if (this.#pool && !slots && engine.size >= this.#rowsForThreads) {
      return this.#pool.score(engine, now, plainNetwork(this.network), baseOf(this.manifest), share);
    }
    const base = baseOf(this.manifest);
    const [expected] = await correct(
      this.#tensorflow,
      this.network,
      engine,
      now,
      base,
      [share],
      pacer(),
      slots,
    );
    return expected!;
  }

  #usual(
    engine: FeatureEngine,
    now: number,
    as: Exclude<PredictorName, Correcting>,
    slots?: Int32Array,
  ): Expectation {
    const { half_life, group_half_life } = this.manifest;
    if (as === 'lfu') return lfuExpectation(engine, now, slots);
    if (as === 'ewma') return ewmaExpectation(engine, now, half_life.index, slots);
    return groupExpectation(engine, now, group_half_life.index, slots);
  }

  /**
   * What to expect of a row that the log never showed: the mean of such rows over past windows.
   * @param outlook of its group, see FeatureEngine
   */
  scoreUnknown(outlook = 1): UnknownScore {
    const accesses = this.manifest.unknown.accesses * outlook;
    const changes = this.manifest.unknown.changes * outlook;
    return { accesses, changes, score: worth(accesses, changes, this.manifest.change_weight) };
  }

  /** A call of {@link score} under way with threads is rejected. */
  dispose(): void {
    void this.#pool?.close();
    disposeNetwork(this.network);
  }
}

/** How much of its correction counts: half of it is the mean of base and network in log space. */
export const networkShare = { network: 1, mix: 0.5, nudge: 0.25 } as const;
/** The predictors that need a network. */
export type Correcting = keyof typeof networkShare;
export const isCorrecting = (name: PredictorName): name is Correcting => name in networkShare;

/**
 * What a base expects, bent by what the network learnt.
 * @param shares how much of the correction counts, see {@link networkShare}; one expectation each
 * @param slots of the engine; all when absent
 */
export async function correct(
  tensorflow: Tensorflow,
  network: Network,
  engine: FeatureEngine,
  now: number,
  base: Base,
  shares: readonly number[],
  breathe: Breathe,
  slots?: Int32Array,
): Promise<Expectation[]> {
  const rows = slots?.length ?? engine.size;
  const expected = shares.map(() => ({ accesses: new Float64Array(rows), changes: new Float64Array(rows) }));
  const batch = Math.min(SCORE_BATCH, rows);
  const corrector = new Corrector(tensorflow, plainNetwork(network), engine.moment(now), base, batch);
  try {
    for (let from = 0; from < rows; from += SCORE_BATCH) {
      const to = Math.min(from + SCORE_BATCH, rows);
      const parts = expected.map(({ accesses, changes }, n) => ({
        share: shares[n]!,
        expected: { accesses: accesses.subarray(from, to), changes: changes.subarray(from, to) },
      }));
      corrector.apply(to - from, slots?.subarray(from, to) ?? from, parts);
      await breathe();
    }
  } finally {
    corrector.dispose();
  }
  return expected;
}

/** The feature columns that hold a base's expected accesses and changes: the counters come first. */
export function skipColumns(spec: FeatureSpec, base: Base): NetworkShape['skip'] {
  const { accessHalfLives, columns } = spec;
  const changes = accessHalfLives.length + nearestChangeHalfLife(spec, base.halfLife);
  if (base.name === 'ewma') return [base.halfLife, changes];
  return [columns.indexOf(`group_share_${accessHalfLives[base.halfLife]}H`), changes];
}

/** What the network of a model corrects. */
export const baseOf = ({ base, half_life, group_half_life }: Manifest): Base => ({
  name: base,
  halfLife: (base === 'group' ? group_half_life : half_life).index,
});
