import { type Moment, VectorWriter } from '../features/vectors.ts';
import type { Tensorflow } from './backend.ts';
import { type Base, corrected, type Expectation, nearestChangeHalfLife } from './expectation.ts';
import { Forward, type PlainNetwork } from './forward.ts';

/** How much of a correction counts, and where the result is to be written. */
export interface Share {
  /** 0–1 */
  readonly share: number;
  readonly expected: Expectation;
}

/** What a base expects of rows, bent by what the network learnt, batch by batch. Holds tensors: dispose it. */
export class Corrector {
  readonly #forward: Forward;
  readonly #writer: VectorWriter;
  readonly #columns: number;
  readonly #base: Base;
  readonly #changes: number;
  readonly #features: Float32Array;
  readonly #counts: Float64Array;

  /** @param batch the most rows that {@link apply} is given at once */
  constructor(tensorflow: Tensorflow, network: PlainNetwork, moment: Moment, base: Base, batch: number) {
    const { spec } = moment;
    this.#forward = new Forward(tensorflow, network);
    this.#writer = new VectorWriter(moment);
    this.#columns = spec.columns.length;
    this.#base = base;
    this.#changes = spec.accessHalfLives.length + nearestChangeHalfLife(spec, base.halfLife);
    this.#features = new Float32Array(batch * this.#columns);
    this.#counts = new Float64Array(batch * 2);
  }

  /**
   * Writes the expectation of consecutive rows, each share to its own numbers.
   * @param slots the rows' slots, or the first of them where they are consecutive
   */
  apply(rows: number, slots: ArrayLike<number> | number, shares: readonly Share[]): void {
    const features = this.#features.subarray(0, rows * this.#columns);
    const writer = this.#writer;
    const counts = this.#counts;
    const { name, halfLife } = this.#base;
    for (let i = 0; i < rows; i++) {
      writer.write(typeof slots === 'number' ? slots + i : slots[i]!, features, i);
      counts[i * 2] = name === 'group' ? writer.groupCount(halfLife) : writer.count(halfLife);
      counts[i * 2 + 1] = writer.count(this.#changes);
    }
    const output = this.#forward.run(features);
    for (const { share, expected } of shares) {
      for (let i = 0; i < rows; i++) {
        expected.accesses[i] = corrected(counts[i * 2]!, share * output[i * 2]!);
        expected.changes[i] = corrected(counts[i * 2 + 1]!, share * output[i * 2 + 1]!);
      }
    }
  }

  dispose(): void {
    this.#forward.dispose();
  }
}

/** What threads need to score rows together; everything in it can be sent to a thread. */
export interface ScoringTask {
  readonly moment: Moment;
  readonly network: PlainNetwork;
  readonly base: Base;
  readonly share: number;
  /** the result by slot, shared */
  readonly expected: Expectation;
  /** one number, shared: the first slot that nobody has taken yet */
  readonly next: Int32Array;
}

/** Rows that a thread takes at once: their features stay in its cache. */
const BATCH = 8192;

/** Scores batches of rows until none is left. Any number of threads may be at the same task. */
export function work(tensorflow: Tensorflow, { expected, next, ...task }: ScoringTask): void {
  const corrector = new Corrector(tensorflow, task.network, task.moment, task.base, BATCH);
  try {
    for (;;) {
      const from = Atomics.add(next, 0, BATCH);
      if (from >= expected.accesses.length) return;
      const accesses = expected.accesses.subarray(from, from + BATCH);
      const changes = expected.changes.subarray(from, from + BATCH);
      corrector.apply(accesses.length, from, [{ share: task.share, expected: { accesses, changes } }]);
    }
  } finally {
    corrector.dispose();
  }
}
