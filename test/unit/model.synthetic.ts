import type { Access } from '../../src/core/access.ts';
import { seededRng } from '../../src/core/rng.ts';

/** A log whose hot set moves on every `move` seconds: most accesses fall on 40 of `keys` keys, the rest anywhere. */
export function movingHotSet(
  options: { seconds?: number; perSecond?: number; keys?: number; move?: number; seed?: number } = {},
): Access[] {
  const { seconds = 120, perSecond = 60, keys = 800, move = 15, seed = 7 } = options;
  const rng = seededRng(seed);
  const accesses: Access[] = [];
  for (let i = 0; i < seconds * perSecond; i++) {
    const at = i / perSecond;
    const hot = Math.floor(at / move) * 37;
    const key = rng() < 0.8 ? hot + Math.floor(40 * rng() ** 2) : Math.floor(keys * rng());
    accesses.push({ key: `row:${key % keys}`, op: rng() < 0.25 ? 'W' : 'R', at });
  }
  return accesses;
}
