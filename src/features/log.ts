/** ln of 1 + j/128, and 1 over it */
const LOGS = Float64Array.from({ length: 128 }, (_, j) => Math.log1p(j / 128));
const INVERSES = Float64Array.from({ length: 128 }, (_, j) => 128 / (128 + j));
/** 2^−e by the exponent bits of 2^e */
const SCALES = Float64Array.from({ length: 2046 }, (_, bits) => 2 ** (1023 - bits));

const number = new Float64Array(1);
const high = new Int32Array(number.buffer, 4, 1);

/**
 * ln(1 + x) for x ≥ 0, within 1e-14: half of what Math.log takes, and vectors are made of little else. A feature has
 * 32 bits, which cannot tell the difference. Exactly 0 for 0.
 */
export function log1p(x: number): number {
  const y = 1 + x;
  if (!(y >= 1 && y < 1e300)) return Math.log(y);
  number[0] = y;
  const bits = high[0]!;
  const exponent = bits >>> 20;
  const j = (bits >>> 13) & 127;
  // y = 2^e · (1 + j/128) · (1 + r), 0 ≤ r < 1/128
  const r = y * SCALES[exponent]! * INVERSES[j]! - 1;
  const tail = r * (1 - r * (1 / 2 - r * (1 / 3 - r * (1 / 4 - r * (1 / 5 - r / 6)))));
  return (exponent - 1023) * Math.LN2 + (LOGS[j]! + tail);
}
