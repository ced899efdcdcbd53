import { DecayBank, horizonFactor } from './decay.ts';
import { log1p } from './log.ts';
import { eachHour, hoursExposed, rowPhase, rowPhases } from './phase.ts';
import { FIRST_SEEN, LAST_ACCESS, LAST_CHANGE, type RowState } from './rows.ts';
import { type FeatureSpec, groupHalfLives, seasonSeconds } from './spec.ts';

/** Times since an event are capped here, in horizons; "never" has this value too. */
const LONGEST = 1024;

/**
 * Everything that feature vectors at one time need, groups and seasons worked out. Plain data over shared memory: it
 * can be sent to another thread, which computes the same bits.
 */
export interface Moment {
  readonly spec: FeatureSpec;
  /** seconds */
  readonly now: number;
  /** time of the earliest event, seconds; Infinity before the first */
  readonly startedAt: number;
  readonly size: number;
  readonly rows: RowState;
  /** by access half-life, one a group: turns a row's decayed count into its part of what the group will get */
  readonly groupFactors: readonly Float64Array[];
  /** the columns that all rows of a group share, {@link GROUP_COLUMNS} a group */
  readonly groupColumns: Float32Array;
}

/** forecast, recent, phase, announced, ongoing */
export const GROUP_COLUMNS = 5;

/** Writes feature vectors of the rows at one moment. */
export class VectorWriter {
  readonly #moment: Moment;
  readonly #bank: DecayBank;
  /** turns decayed counts into counts to expect in one horizon */
  readonly #factors: Float64Array;
  /** turns all accesses ever into those of a mean horizon */
  readonly #meanFactor: number;
  readonly #columns: number;
  /** of the row written last: the counts that its first columns stand for, and those of its share of the group */
  readonly #counts: Float64Array;
  readonly #groupCounts: Float64Array;
  readonly #groupIndex: readonly number[];
  readonly #phaseWeights: readonly PhaseWeights[];

  constructor(moment: Moment) {
    const { spec, now, startedAt } = moment;
    this.#moment = moment;
    const halfLives = [...spec.accessHalfLives, ...spec.changeHalfLives].map((h) => h * spec.horizonSeconds);
    this.#bank = new DecayBank(halfLives);
    this.#factors = Float64Array.from(halfLives, (halfLife) =>
      horizonFactor(spec.horizonSeconds, halfLife, now - startedAt),
    );
    this.#meanFactor = spec.horizonSeconds / Math.max(now - startedAt, spec.horizonSeconds / 64);
    this.#columns = spec.columns.length;
    this.#counts = new Float64Array(halfLives.length);
    this.#groupCounts = new Float64Array(spec.accessHalfLives.length);
    this.#groupIndex = groupHalfLives.map((h) => spec.accessHalfLives.indexOf(h));
    this.#phaseWeights = phaseWeights(moment);
  }

  /** Vector of one slot, to row `row` of `out`. */
  write(slot: number, out: Float32Array, row: number): void {
    const { spec, now, rows } = this.#moment;
    const { layout, f64, f32, u16 } = rows;
    const factors = this.#factors;
    const counts = this.#counts;
    const perHorizon = 64 / spec.horizonSeconds;
    const stride = factors.length;
    const times = slot * layout.stride64;
    const row32 = slot * layout.stride32;
    const first = row32 + layout.counters;
    const lastAccess = f64[times + LAST_ACCESS]!;
    const decays = this.#bank.decay(Math.max(0, now - lastAccess));
    let to = row * this.#columns;
    for (let i = 0; i < stride; i++) {
      const count = f32[first + i]! * decays[i]! * factors[i]!;
      counts[i] = count;
      out[to + i] = log1p(count);
    }
    to += stride;
    const total = f32[row32 + layout.total]!;
    out[to++] = since((now - lastAccess) * perHorizon);
    out[to++] = since((now - f64[times + LAST_CHANGE]!) * perHorizon);
    out[to++] = since((now - f64[times + FIRST_SEEN]!) * perHorizon);
    out[to++] = log1p(total * this.#meanFactor);
    out[to++] = total > 0 ? f32[row32 + layout.changes]! / total : 0;
    for (let season = 0; season < this.#phaseWeights.length; season++) {
      const { phases, weights } = this.#phaseWeights[season]!;
      const first16 = slot * layout.stride16 + layout.phases[season]!;
      let expected = 0;
      for (let i = 0; i < weights.length; i++) expected += weights[i]! * u16[first16 + phases[i]!]!;
      out[to++] = log1p(expected);
    }
    if (!spec.grouped) return;
    const group = rows.i32[row32 + layout.group]!;
    for (const index of this.#groupIndex) {
      const count = f32[first + index]! * decays[index]! * this.#moment.groupFactors[index]![group]!;
      this.#groupCounts[index] = count;
      out[to++] = log1p(count);
    }
    for (let i = 0; i < GROUP_COLUMNS; i++) {
      out[to++] = this.#moment.groupColumns[group * GROUP_COLUMNS + i]!;
    }
  }

  /**
   * What {@link FeatureEngine.ewma} and `changeEwma` give for the row that was written last, in one horizon, bit for bit.
   * @param counter index of an access half-life, or of a change half-life after all of those
   */
  count(counter: number): number {
    return this.#counts[counter]!;
  }

  /** The same for `groupShare`, at one of the half-lives of groups. @param halfLife index of an access half-life */
  groupCount(halfLife: number): number {
    return this.#groupCounts[halfLife]!;
  }
}

/** @param age 64ths of a horizon */
const since = (age: number): number => log1p(age < 64 * LONGEST ? Math.max(0, age) : 64 * LONGEST);

/** The phases of a season that count, which are few where the horizon is short, and how much. */
interface PhaseWeights {
  readonly phases: Int32Array;
  readonly weights: Float64Array;
}

/**
 * By season: what one access in a phase adds to the accesses expected in [now, now + H), from the rows' own past: the
 * seconds of the phase in the window, over those that were watched. Nothing before a whole season has been seen.
 */
function phaseWeights({ spec, now, startedAt }: Moment): PhaseWeights[] {
  return spec.seasons.map((season) => {
    const seconds = new Float64Array(rowPhases[season].count);
    const watched = new Float64Array(seconds.length);
    if (now - startedAt >= seasonSeconds[season]) {
      hoursExposed(startedAt, now).forEach((exposed, hour) => {
        watched[rowPhase(season, hour)]! += exposed;
      });
      eachHour(now, now + spec.horizonSeconds, (hour, within) => {
        seconds[rowPhase(season, hour)]! += within;
      });
    }
    const phases = Int32Array.from(seconds.keys()).filter((i) => seconds[i]! > 0 && watched[i]! > 0);
    return { phases, weights: Float64Array.from(phases, (i) => seconds[i]! / watched[i]!) };
  });
}
