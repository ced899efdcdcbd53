import { FeatureEngine } from '../features/engine.ts';
import { type Moment, VectorWriter } from '../features/vectors.ts';
import type { Tensorflow } from './backend.ts';
import { type Base, baseExpectation, corrected, type Expectation } from './expectation.ts';
import { Forward, type PlainNetwork } from './forward.ts';

/** Bends what is expected of rows by what the network learnt, batch by batch. Holds tensors: dispose it. */
export class Corrector {
  readonly #forward: Forward;
  readonly #writer: VectorWriter;
  readonly #columns: number;
  readonly #share: number;
  #features: Float32Array;

  /**
   * @param share how much of the correction counts, 0–1
   * @param batch the most rows that {@link apply} is given at once
   */
  constructor(tensorflow: Tensorflow, network: PlainNetwork, moment: Moment, share: number, batch: number) {
    this.#forward = new Forward(tensorflow, network);
    this.#writer = new VectorWriter(moment);
    this.#columns = moment.spec.columns.length;
    this.#share = share;
    this.#features = new Float32Array(batch * this.#columns);
  }

  /**
   * Changes `expected` in place.
   * @param slots the rows' slots, as many as there are in `expected`, or the first of them where they are consecutive
   */
  apply({ accesses, changes }: Expectation, slots: ArrayLike<number> | number): void {
    const rows = accesses.length;
    const features = this.#features.subarray(0, rows * this.#columns);
    for (let i = 0; i < rows; i++) {
      this.#writer.write(typeof slots === 'number' ? slots + i : slots[i]!, features, i);
    }
    const output = this.#forward.run(features);
    for (let i = 0; i < rows; i++) {
      accesses[i] = corrected(accesses[i]!, this.#share * output[i * 2]!);
      changes[i] = corrected(changes[i]!, this.#share * output[i * 2 + 1]!);
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
  const { moment, base } = task;
  const engine = FeatureEngine.at(moment);
  const corrector = new Corrector(tensorflow, task.network, moment, task.share, BATCH);
  const slots = new Int32Array(BATCH);
  try {
    for (;;) {
      const from = Atomics.add(next, 0, BATCH);
      if (from >= expected.accesses.length) return;
      const accesses = expected.accesses.subarray(from, from + BATCH);
      const changes = expected.changes.subarray(from, from + BATCH);
      for (let i = 0; i < BATCH; i++) slots[i] = from + i;
      const usual = baseExpectation(engine, moment.now, base, slots.subarray(0, accesses.length));
      accesses.set(usual.accesses);
      changes.set(usual.changes);
      corrector.apply({ accesses, changes }, from);
    }
  } finally {
    corrector.dispose();
  }
}
