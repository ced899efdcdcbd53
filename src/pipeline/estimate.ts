import { rise } from '../migration/throttle/drive.ts';
import { meanShare } from '../migration/throttle/wal-rate.ts';

/** What was seen of the copy, or of the comparison, at one moment. */
export interface Point {
  /** seconds */
  readonly at: number;
  /** rows passed */
  readonly rows: number;
  /** of the time that may be worked, from now on */
  readonly share: number;
}

export interface Estimate {
  /** rows a second lately; null before half a second */
  readonly rate: number | null;
  /** seconds until all is done; null before one per cent: it would be noise */
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

/** Where something holds the work back it goes on as in these latest seconds: fewer, and each short stop would count double. */
const heldWindow = 10;

/**
 * Rate of the work, and how long the rest takes: at the speed of lately, which is rows by the time that may be worked, and
 * the share of the latest seconds; if nothing holds it back, the way it rises to full speed.
 * @param held whether something holds it where it is
 * @param limit rows a second that it may reach; null: none
 * @param most the share that it may rise to
 */
export function estimate(
  points: readonly Point[],
  total: number,
  held: boolean,
  limit: number | null,
  most = 1,
): Estimate {
  const last = points.at(-1);
  const recent = recentPoints(points, last?.at ?? 0);
  const first = recent[0];
  if (!first || !last || last.at - first.at <= 0.5) return { rate: null, eta: null, fullSpeed: null };
  const rate = (last.rows - first.rows) / (last.at - first.at);
  const left = Math.max(0, total - last.rows);
  if (rate <= 0 || last.rows < total / 100) return { rate, eta: null, fullSpeed: null };
  const lately = meanShare(recent);
  if (lately <= 0) return { rate, eta: left / rate, fullSpeed: null };
  const fullSpeed = rate / lately;
  if (held) {
    const now = meanShare(recent.filter(({ at }) => at >= last.at - heldWindow));
    if (now <= 0) return { rate, eta: null, fullSpeed }; // it stands: nobody knows for how long
    return { rate, eta: left / (fullSpeed * now), fullSpeed };
  }
  const atShare = (share: number) => Math.min(fullSpeed * share, limit ?? Number.POSITIVE_INFINITY);
  let rows = left;
  let { share } = last;
  let eta = 0;
  for (let i = 0; i < steps && share < most; i++) {
    const done = atShare(share) * riseEvery;
    if (done >= rows) break;
    rows -= done;
    eta += riseEvery;
    share = Math.min(most, rise(share));
  }
  return { rate, eta: eta + rows / atShare(share), fullSpeed };
}

/** A key of T is looked up in this share of the time that a row of S is compared in. */
export const lookUp = 0.65;

/**
 * How long the work after the copy takes beside the copy itself, by measure (`npm run bench -- estimates`): the
 * comparison of all rows, which one session does, takes twice as long as copying them at full speed with two lanes, each
 * index a third of that, vacuum and statistics a quarter. Machines differ: the first is a guess until a part of the
 * comparison was tried, and all of it is replaced by what is seen once verification runs.
 */
const beside = { compare: 2, index: 0.33, vacuum: 0.25 };

/**
 * Seconds after the copy until writes may be cut over.
 * @param fullSpeed rows a second that the copy reaches with nothing to hold it back
 * @param indexes of the target that are built after the copy
 * @param compareSpeed rows a second that a part of the comparison did just now; null: not known
 */
export function estimateAfterwards(
  total: number,
  fullSpeed: number,
  indexes: number,
  compareSpeed: number | null = null,
): number {
  const copy = total / fullSpeed;
  const compare = compareSpeed === null ? copy * beside.compare : (total * (1 + lookUp)) / compareSpeed;
  return compare + copy * (beside.vacuum + indexes * beside.index);
}
