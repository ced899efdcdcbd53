/** Asymptotic 95 % point of the Kolmogorov distribution: P(√m·D > 1.36) ≈ 0.05 (Smirnov, 1948). */
const ks95 = 1.36;

export interface CertifiableInput {
  /** rows of the source */
  readonly N: number;
  /** budget of the whole shadow, in rows */
  readonly n: number;
  /** share of the budget that is the random remainder */
  readonly random: number;
  /** similarity that each field must reach, such as fieldThreshold */
  readonly threshold: number;
}

export interface Certifiable {
  readonly ok: boolean;
  /** smallest distance that the random members can tell from none: 1.36·(N_B/N)/√m */
  readonly resolution: number;
  /** the share of this budget that would reach the threshold; null when the whole budget does not */
  readonly neededRandom: number | null;
  /** the share of the table that would reach it with this random share; null when none below 1 does */
  readonly neededFraction: number | null;
  readonly message: string;
}

/** Whether the setting can reach the threshold at all, and what would. Ask before filling a shadow. */
export function certifiable({ N, n, random, threshold }: CertifiableInput): Certifiable {
  const distance = 1 - threshold;
  const m = random * n;
  const resolution = N <= 0 ? 0 : m > 0 ? (ks95 * Math.max(0, N - n + m)) / (N * Math.sqrt(m)) : Infinity;
  const ok = resolution <= distance;
  const neededRandom = ok ? random : smallestShare(N, n, distance);
  const neededFraction = ok ? n / N : smallestFraction(N, random, distance);
  return { ok, resolution, neededRandom, neededFraction, message: message() };

  function message(): string {
    const seen = Number.isFinite(resolution) ? resolution.toFixed(3) : 'any size';
    const asked = `a field threshold of ${threshold} asks for distances down to ${distance.toFixed(3)}`;
    if (ok) return `${Math.round(m)} random members can certify distances down to ${seen}; ${asked}`;
    const remedies = [
      neededRandom === null ? null : `shadow.weights.random = ${roundUp(neededRandom)}`,
      neededFraction === null ? null : `shadow.fraction = ${roundUp(neededFraction)}`,
    ].filter((remedy) => remedy !== null);
    const remedy =
      remedies.length > 0 ? `${remedies.join(' or ')} would reach it` : 'no setting reaches it: lower it';
    return `${Math.round(m)} random members cannot certify a distance below ${seen}, but ${asked}; ${remedy}`;
  }
}

/** However the threshold is set, fewer random rows may by chance be none; and up to this many cost next to nothing. */
const fewestRandom = 30;
const cheapRandom = 1000;

/**
 * The rows that the random remainder should have, whatever share of the budget that is: as many as the threshold asks
 * for, within reason. All rows outside A, when these are fewer.
 */
export function leastRandom({
  N,
  nA,
  threshold,
}: {
  /** rows of the source */
  readonly N: number;
  /** rows of the certain set */
  readonly nA: number;
  readonly threshold: number;
}): number {
  const nB = Math.max(0, N - nA);
  const needed = nB === 0 ? 0 : Math.ceil(((ks95 * nB) / (N * (1 - threshold))) ** 2);
  return Math.min(nB, Math.max(fewestRandom, Math.min(cheapRandom, needed)));
}

/** Solves c·(N − n + m)/N = d·√m for the smallest √m, in the form that does not cancel for large N. */
function smallestShare(N: number, n: number, distance: number): number | null {
  const discriminant = distance ** 2 - 4 * (ks95 / N) * ((ks95 * (N - n)) / N);
  if (discriminant < 0 || n <= 0) return null;
  const root = (2 * ((ks95 * (N - n)) / N)) / (distance + Math.sqrt(discriminant));
  const share = root ** 2 / n;
  return share <= 1 ? share : null;
}

/** The resolution falls as the budget grows, so bisection finds the smallest fraction. */
function smallestFraction(N: number, random: number, distance: number): number | null {
  if (random <= 0) return null;
  const resolution = (fraction: number) =>
    (ks95 * (1 - fraction + random * fraction)) / Math.sqrt(random * fraction * N);
  if (resolution(1) > distance) return null;
  let low = 0;
  let high = 1;
  for (let i = 0; i < 60; i++) {
    const middle = (low + high) / 2;
    if (resolution(middle) > distance) low = middle;
    else high = middle;
  }
  return high;
}

/** Up to the next thousandth: a share rounded down would just miss. */
const roundUp = (share: number) => Math.min(1, Math.ceil(share * 1000 - 1e-9) / 1000);
