const STEPS = 512;
/** ln of 1 + j/512, and 1 over it */
const LOGS = Float64Array.from({ length: STEPS }, (_, j) => Math.log1p(j / STEPS));
const INVERSES = Float64Array.from({ length: STEPS }, (_, j) => STEPS / (STEPS + j));
/** 2^−e by the exponent bits of 2^e */
const SCALES = Float64Array.from({ length: 2046 }, (_, bits) => 2 ** (1023 - bits));

const number = new Float64Array(1);
const high = new Int32Array(number.buffer, 4, 1);

/** Up to here a few terms of the series do; most counts of a table are old and tiny. */
const SMALL = 1 / STEPS;
/** Nothing smaller is told from zero: a 32-bit number near its least takes a processor a hundred times as long. */
const LEAST = 1e-30;

/**
 * ln(1 + x) for x ≥ 0, within 1e-14: a third of what Math.log takes, and vectors are made of little else. A feature has
 * 32 bits, which cannot tell the difference. Exactly 0 below 1e-30.
 */
export function log1p(x: number): number {
  if (x < SMALL) return x < LEAST ? 0 : series(x);
  const y = 1 + x;
  if (!(y < 1e300)) return Math.log(y);
  number[0] = y;
  const bits = high[0]!;
  const exponent = bits >>> 20;
  const j = (bits >>> 11) & (STEPS - 1);
  // y = 2^e · (1 + j/512) · (1 + r), 0 ≤ r < 1/512
  const r = y * SCALES[exponent]! * INVERSES[j]! - 1;
  return (exponent - 1023) * Math.LN2 + (LOGS[j]! + series(r));
}

/** ln(1 + r), 0 ≤ r < 1/512 */
const series = (r: number): number => r * (1 - r * (1 / 2 - r * (1 / 3 - r * (1 / 4 - r / 5))));
