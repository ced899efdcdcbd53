import { gammaln } from 'simple-statistics';
import type { Rng } from '../core/rng.ts';

/**
 * One draw from Binomial(n, p). Below a mean of 10 by inversion; above it by transformed rejection with squeeze
 * (BTRS; source: Hörmann, "The generation of binomial random variates", J. Stat. Comput. Simul. 46, 1993), so that a
 * bootstrap over a hundred thousand rows costs as much as one over a hundred.
 */
export function binomial(n: number, p: number, rng: Rng): number {
  if (n <= 0 || p <= 0) return 0;
  if (p >= 1) return n;
  if (p > 0.5) return n - binomial(n, 1 - p, rng);
  return n * p < 10 ? byInversion(n, p, rng) : byRejection(n, p, rng);
}

function byInversion(n: number, p: number, rng: Rng): number {
  const odds = p / (1 - p);
  for (;;) {
    let mass = (1 - p) ** n;
    let u = rng();
    for (let k = 0; k <= n; k++) {
      if (u < mass) return k;
      u -= mass;
      mass *= ((n - k) / (k + 1)) * odds;
    }
    // rounding let u outlive the whole distribution: draw again
  }
}

function byRejection(n: number, p: number, rng: Rng): number {
  const sd = Math.sqrt(n * p * (1 - p));
  const b = 1.15 + 2.53 * sd;
  const a = -0.0873 + 0.0248 * b + 0.01 * p;
  const center = n * p + 0.5;
  const vr = 0.92 - 4.2 / b;
  const alpha = (2.83 + 5.1 / b) * sd;
  const logOdds = Math.log(p / (1 - p));
  const mode = Math.floor((n + 1) * p);
  const h = gammaln(mode + 1) + gammaln(n - mode + 1);
  for (;;) {
    const u = rng() - 0.5;
    const v = rng();
    const us = 0.5 - Math.abs(u);
    const k = Math.floor(((2 * a) / us + b) * u + center);
    if (us >= 0.07 && v <= vr) return k;
    if (k < 0 || k > n) continue;
    const logV = Math.log((v * alpha) / (a / (us * us) + b));
    if (logV <= h - gammaln(k + 1) - gammaln(n - k + 1) + (k - mode) * logOdds) return k;
  }
}

/** One draw of `m` rows over bins with the given counts or weights, written into `into`. */
export function multinomial(m: number, weights: Float64Array, into: Float64Array, rng: Rng): void {
  let left = m;
  let mass = 0;
  for (const weight of weights) mass += weight;
  for (let i = 0; i < weights.length; i++) {
    const weight = weights[i]!;
    const drawn = weight > 0 && left > 0 ? binomial(left, Math.min(1, weight / mass), rng) : 0;
    into[i] = drawn;
    left -= drawn;
    mass -= weight;
  }
}
