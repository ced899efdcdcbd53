/**
 * An exponentially decayed count c = Σ w·2^(−age/h) of a steady stream of rate r, watched for `exposure` seconds, has
 * the mean r·(h/ln 2)·(1 − 2^(−exposure/h)). This is the factor that turns c into the count to expect over one horizon.
 * The last term matters while the log is younger than the half-life; without it a young log looks idle.
 */
export function horizonFactor(
  horizonSeconds: number,
  halfLifeSeconds: number,
  exposureSeconds: number,
): number {
  // A log of one instant has no rate: treat it as the shortest memory that the features have, not as infinity.
  const exposure = Math.max(exposureSeconds, horizonSeconds / 64);
  const seen = -Math.expm1((-Math.LN2 * exposure) / halfLifeSeconds);
  return (Math.LN2 * horizonSeconds) / (halfLifeSeconds * seen);
}

/** The square of less than this would be no number with full precision, which a processor takes a hundred times as long for. */
const NOTHING = 1e-150;

/**
 * 2^(−dt/h) for a bank of half-lives at once. An exponential is dear and a multiplication is not: where a half-life is
 * another one divided by a power of two, its factor is that one's, squared so many times.
 */
export class DecayBank {
  /** ln 2 / half-life, per second */
  readonly rates: Float64Array;
  /** the factors of the last call of {@link decay} */
  readonly factors: Float64Array;
  /** what to do, in order: keep the factor for the counter of that number, square it, or begin with a counter's own */
  readonly #plan: Int32Array;
  readonly #ways: Way[] = [];

  /** @param halfLives seconds */
  constructor(halfLives: readonly number[]) {
    this.rates = Float64Array.from(halfLives, (halfLife) => Math.LN2 / halfLife);
    this.factors = new Float64Array(halfLives.length);
    const plan: number[] = [];
    const planned = new Set<number>();
    const longestFirst = halfLives.map((_, i) => i).sort((a, b) => halfLives[b]! - halfLives[a]!);
    for (const first of longestFirst) {
      if (planned.has(first)) continue;
      plan.push(BEGIN - first);
      let halved = halfLives[first]!;
      let squares = 0;
      for (const index of longestFirst) {
        const octaves = Math.log2(halved / halfLives[index]!);
        if (planned.has(index) || !Number.isInteger(octaves) || octaves < 0) continue;
        for (let i = 0; i < octaves; i++) plan.push(SQUARE);
        squares += octaves;
        this.#ways[index] = { rate: this.rates[first]!, squares };
        plan.push(index);
        planned.add(index);
        halved = halfLives[index]!;
      }
    }
    this.#plan = Int32Array.from(plan);
  }

  /** @param dt seconds, not negative @returns one factor a half-life; valid until the next call */
  decay(dt: number): Float64Array {
    const { factors } = this;
    const plan = this.#plan;
    let factor = 1;
    for (let step = 0; step < plan.length; step++) {
      const what = plan[step]!;
      if (what >= 0) factors[what] = factor;
      else if (what === SQUARE) factor = factor < NOTHING ? 0 : factor * factor;
      else factor = Math.exp(-dt * this.rates[BEGIN - what]!);
    }
    return factors;
  }

  /** The factor of one counter alone: the same bits. @param dt seconds, not negative */
  factor(dt: number, index: number): number {
    const { rate, squares } = this.#ways[index]!;
    let factor = Math.exp(-dt * rate);
    for (let i = 0; i < squares; i++) factor = factor < NOTHING ? 0 : factor * factor;
    return factor;
  }
}

/** One counter's way through the plan. */
interface Way {
  /** per second, of the counter that its factor begins with */
  readonly rate: number;
  readonly squares: number;
}

const SQUARE = -1;
/** less the number of the counter that begins */
const BEGIN = -2;
