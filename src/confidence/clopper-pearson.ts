import { gammaln } from 'simple-statistics';

/**
 * One-sided upper confidence bound for a proportion, exact for every sample size.
 * Source: Clopper and Pearson, Biometrika 26 (1934): the `confidence` quantile of Beta(found + 1, checked − found).
 *
 * @returns a share in [0, 1]; 1 when nothing was checked
 */
export function clopperPearsonUpper(found: number, checked: number, confidence = 0.95): number {
  if (checked <= 0 || found >= checked) return 1;
  if (found <= 0) return 1 - (1 - confidence) ** (1 / checked);
  return betaQuantile(confidence, found + 1, checked - found);
}

/** The x with I_x(a, b) = p, by bisection: I is monotone in x, and 60 halvings reach the last bit that counts. */
export function betaQuantile(p: number, a: number, b: number): number {
  let low = 0;
  let high = 1;
  for (let i = 0; i < 60 && high - low > 1e-15; i++) {
    const middle = (low + high) / 2;
    if (regularizedBeta(middle, a, b) < p) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/** I_x(a, b), the distribution function of Beta(a, b), for a, b > 0. */
export function regularizedBeta(x: number, a: number, b: number): number {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  // the fraction converges fast only below the mean: use the symmetry I_x(a, b) = 1 − I_{1−x}(b, a) above it
  if (x > (a + 1) / (a + b + 2)) return 1 - regularizedBeta(1 - x, b, a);
  const logFront = gammaln(a + b) - gammaln(a) - gammaln(b) + a * Math.log(x) + b * Math.log1p(-x);
  return (Math.exp(logFront) * continuedFraction(x, a, b)) / a;
}

/** Lentz's algorithm; source: Press et al., Numerical Recipes (2007), section 6.4. Takes O(√max(a, b)) terms. */
function continuedFraction(x: number, a: number, b: number): number {
  const tiny = 1e-300;
  const guard = (value: number) => (Math.abs(value) < tiny ? tiny : value);
  let c = 1;
  let d = 1 / guard(1 - ((a + b) * x) / (a + 1));
  let h = d;
  for (let m = 1; m < 100_000; m++) {
    const even = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / guard(1 + even * d);
    c = guard(1 + even / c);
    h *= d * c;
    const odd = (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / guard(1 + odd * d);
    c = guard(1 + odd / c);
    const step = d * c;
    h *= step;
    if (Math.abs(step - 1) < 1e-15) break;
  }
  return h;
}
