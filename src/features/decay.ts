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

/**
 * 2^(−dt/h) for a bank of half-lives at once. An exponential is dear and a multiplication is not: where a half-life is
 * another one divided by a power of two, its factor is that one's, squared so many times.
 */
export class DecayBank {
  /** ln 2 / half-life, per second */
  readonly rates: Float64Array;
  /** the factors of the last call of {@link decay} */
  readonly factors: Float64Array;
  /** in the order to compute, three numbers each: which counter, from which one's factor (−1: none), squared how often */
  readonly #plan: Int32Array;

  /** @param halfLives seconds */
  constructor(halfLives: readonly number[]) {
    this.rates = Float64Array.from(halfLives, (halfLife) => Math.LN2 / halfLife);
    this.factors = new Float64Array(halfLives.length);
    const longestFirst = halfLives.map((_, i) => i).sort((a, b) => halfLives[b]! - halfLives[a]!);
    const plan = longestFirst.map((index, n) => {
      const from = longestFirst
        .slice(0, n)
        .findLast((longer) => Number.isInteger(Math.log2(halfLives[longer]! / halfLives[index]!)));
      if (from === undefined) return [index, -1, 0];
      return [index, from, Math.log2(halfLives[from]! / halfLives[index]!)];
    });
    this.#plan = Int32Array.from(plan.flat());
  }

  /** @param dt seconds, not negative @returns one factor a half-life; valid until the next call */
  decay(dt: number): Float64Array {
    const { factors } = this;
    const plan = this.#plan;
    for (let step = 0; step < plan.length; step += 3) {
      const index = plan[step]!;
      const from = plan[step + 1]!;
      let factor = from < 0 ? Math.exp(-dt * this.rates[index]!) : factors[from]!;
      for (let i = plan[step + 2]!; i > 0; i--) factor *= factor;
      factors[index] = factor;
    }
    return factors;
  }
}
