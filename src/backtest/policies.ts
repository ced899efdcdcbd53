import type { Access } from '../core/access.ts';
import type { KeyId } from '../core/key.ts';
import { chooseTop, positionOf, type Trained } from '../model/index.ts';

/** Into how many parts the window is cut: the shadow is chosen again at the beginning of each. */
const CHOICES = 10;

/** Hit share by how the shadow is kept up while the window passes. */
export interface PolicyShares {
  /** chosen once, at the beginning */
  readonly once: number;
  /** and rows that appear join it: the access that brings one in is no hit, those after it are */
  readonly admit: number;
  /** and it is chosen again ten times among all rows seen until then; the model stays as it is */
  readonly rechoose: number;
}

/** What the policies did, and what they cost. */
export interface Played {
  readonly shares: PolicyShares;
  /** the most rows that each held at one time */
  readonly rows: PolicyShares;
}

/** One choice to be kept up. */
export interface Held extends Trained {
  /** what was chosen at the beginning */
  readonly chosen: ReadonlySet<KeyId>;
}

/**
 * Plays the window into the engine that all of them share, and lets each choose again with what it has seen. Rows that
 * joined since the last choice come on top of the budget.
 * @param future the window's accesses, in time order
 */
export async function playPolicies(
  held: readonly Held[],
  future: readonly Access[],
  at: number,
  seed: number,
): Promise<Played[]> {
  const engine = held[0]?.engine;
  if (!engine) return [];
  const known = engine.size;
  const horizon = engine.spec.horizonSeconds;
  const tallies = held.map(({ chosen }) => ({
    once: 0,
    admit: 0,
    rechoose: 0,
    current: chosen,
    most: chosen.size,
  }));
  let joined = new Set<KeyId>();
  let total = 0;
  let from = 0;
  for (let part = 0; part < CHOICES; part++) {
    if (part > 0) {
      const now = at + (part * horizon) / CHOICES;
      for (const [n, { predictor, manifest }] of held.entries()) {
        const { keys, score } = await predictor.score(engine, now);
        const rows = Math.max(1, Math.round(manifest.budget * keys.length));
        tallies[n]!.current = chooseTop(keys, score, rows, seed);
      }
      joined = new Set();
    }
    const to =
      part === CHOICES - 1 ? future.length : positionOf(future, at + ((part + 1) * horizon) / CHOICES);
    for (const access of future.slice(from, to)) {
      const { key, weight = 1 } = access;
      const slot = engine.slotOf(key);
      // it has been seen before in the window, but not before the window
      const arrived = slot !== undefined && slot >= known;
      total += weight;
      held.forEach(({ chosen }, n) => {
        const tally = tallies[n]!;
        if (chosen.has(key)) tally.once += weight;
        if (chosen.has(key) || arrived) tally.admit += weight;
        if (tally.current.has(key) || joined.has(key)) tally.rechoose += weight;
      });
      if (slot === undefined) joined.add(key);
      engine.observe(access);
    }
    from = to;
    for (const tally of tallies) tally.most = Math.max(tally.most, tally.current.size + joined.size);
  }
  const admitted = engine.size - known;
  const share = (hits: number) => (total > 0 ? hits / total : 0);
  return tallies.map(({ once, admit, rechoose, most }, n) => {
    const { size } = held[n]!.chosen;
    return {
      shares: { once: share(once), admit: share(admit), rechoose: share(rechoose) },
      rows: { once: size, admit: size + admitted, rechoose: most },
    };
  });
}
