import { rise } from '../migration/throttle/drive.ts';

/** What was seen of the copy at one moment. */
export interface Point {
  /** seconds */
  readonly at: number;
  /** source rows passed */
  readonly rows: number;
  /** of their time that lanes may copy */
  readonly share: number;
}

export interface Estimate {
  /** rows a second lately; null before half a second */
  readonly rate: number | null;
  /** seconds until all is copied; null before one per cent: it would be noise */
  readonly eta: number | null;
  /** rows a second that it would reach with nothing to hold it back */
  readonly fullSpeed: number | null;
}

/** The throttle lets go this often, in seconds. */
const riseEvery = 0.5;
/** No look further ahead than this, in steps of the rise: full speed is reached long before. */
const steps = 200;

/** Only lately counts, and lately is longer the longer the copy goes on: at least this many seconds. */
const leastWindow = 10;

/** Points that estimates need: the latest third of the copy, and ten seconds at least. */
export function recentPoints(points: readonly Point[], now: number): readonly Point[] {
  const began = points[0]?.at ?? now;
  const since = now - Math.max(leastWindow, (now - began) / 3);
  return points.filter(({ at }) => at >= since);
}

/**
 * Rate of the copy, and how long the rest takes: at the rate of lately, if nothing holds the copy back the way it rises to
 * full speed.
 * @param held whether something holds it where it is
 * @param limit rows a second that it may reach; null: none
 */
export function estimateCopy(
  points: readonly Point[],
  total: number,
  held: boolean,
  limit: number | null,
): Estimate {
  const last = points.at(-1);
  const recent = recentPoints(points, last?.at ?? 0);
  const first = recent[0];
  if (!first || !last || last.at - first.at <= 0.5) return { rate: null, eta: null, fullSpeed: null };
  const rate = (last.rows - first.rows) / (last.at - first.at);
  const left = Math.max(0, total - last.rows);
  if (rate <= 0 || last.rows < total / 100) return { rate, eta: null, fullSpeed: null };
  const shares = recent.slice(1).reduce((sum, { share, at }, i) => sum + share * (at - recent[i]!.at), 0);
  const lately = shares / (last.at - first.at);
  if (lately <= 0) return { rate, eta: left / rate, fullSpeed: null };
  const fullSpeed = rate / lately;
  if (held) return { rate, eta: left / rate, fullSpeed };
  const atShare = (share: number) => Math.min(fullSpeed * share, limit ?? Number.POSITIVE_INFINITY);
  let rows = left;
  let { share } = last;
  let eta = 0;
  for (let i = 0; i < steps && share < 1; i++) {
    const done = atShare(share) * riseEvery;
    if (done >= rows) break;
    rows -= done;
    eta += riseEvery;
    share = rise(share);
  }
  return { rate, eta: eta + rows / atShare(share), fullSpeed };
}

/**
 * How long the work after the copy takes beside the copy itself, by measure (`npm run bench -- throttle`, by_phase): the
 * comparison of all rows takes about as long as copying them at full speed does, each index a third of that, vacuum and
 * statistics a third. Machines differ, so it is a guess, and is replaced by what is seen once verification runs.
 */
const beside = { compare: 1, index: 0.33, vacuum: 0.33 };

/**
 * Seconds after the copy until writes may be cut over.
 * @param fullSpeed rows a second that the copy reaches with nothing to hold it back
 * @param indexes of the target that are built after the copy
 */
export function estimateAfterwards(total: number, fullSpeed: number, indexes: number): number {
  return (total / fullSpeed) * (beside.compare + beside.vacuum + indexes * beside.index);
}
