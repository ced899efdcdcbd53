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
