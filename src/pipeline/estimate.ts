import { mean } from 'simple-statistics';
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
  /** of the application's, brought to the target by then */
  readonly changes?: number;
  /** what such a change costs once its row has passed, in rows of the work; null: at this moment that cannot be told */
  readonly rowsPerChange?: number | null;
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

/**
 * Only lately counts, and lately is longer the longer the work goes on: at least this many seconds. What slows a copy down
 * comes and goes: a checkpoint or a neighbour within ten seconds, autovacuum once a minute (`autovacuum_naptime`) for twenty.
 * In less than two of its rounds each would count too much, or not at all.
 */
const leastWindow = 120;
/** Nothing is foretold before this share of the rows has passed, and what came before it says little: lanes were starting. */
const started = 0.01;

/** Points that estimates need: the latest third of the work, and two minutes at least, without how it started. */
export function recentPoints(points: readonly Point[], total: number): readonly Point[] {
  const now = points.at(-1)?.at ?? 0;
  const since = now - Math.max(leastWindow, (now - (points[0]?.at ?? now)) / 3);
  const counts = points.filter(({ rows }) => rows >= total * started);
  return (counts.length ? counts : points).filter(({ at }) => at >= since);
}

/** Something that holds all work for this many seconds may do so for ever. */
const longestStop = 10;

/** What work on many rows goes on under. */
export interface Conditions {
  /** something holds it where it is */
  readonly held: boolean;
  /** rows a second that it may reach; null: none */
  readonly limit: number | null;
  /** the share that it may rise to; 1 when absent */
  readonly most?: number;
}

/**
 * Rate of the work, and how long the rest takes. Where something holds it back, or ever did, it goes on at the rate of
 * lately, less what it will still lose: what came may come again, and the share of this moment says little about that of the
 * next minute. What it loses: the more rows have passed, the more of the application's changes meet rows of the target, and
 * what that writes is taken from the same budget. Else it rises to full speed, which is rows by the time that may be worked.
 */
export function estimate(
  points: readonly Point[],
  total: number,
  { held, limit, most = 1 }: Conditions,
): Estimate {
  const last = points.at(-1);
  const recent = recentPoints(points, total);
  const first = recent[0];
  if (!first || !last || last.at - first.at <= 0.5) return { rate: null, eta: null, fullSpeed: null };
  const rate = (last.rows - first.rows) / (last.at - first.at);
  const left = Math.max(0, total - last.rows);
  if (rate <= 0 || last.rows < total * started) return { rate, eta: null, fullSpeed: null };
  const lately = meanShare(recent);
  if (lately <= 0) return { rate, eta: left / rate, fullSpeed: null };
  const fullSpeed = rate / lately;
  const stopped = meanShare(recent.filter(({ at }) => at >= last.at - longestStop)) <= 0;
  if (held && stopped) return { rate, eta: null, fullSpeed }; // nobody knows for how long
  if (held || fell(points)) return { rate, eta: heldBack(recent, total, limit), fullSpeed };
  const limited = (speed: number) => Math.min(speed, limit ?? Number.POSITIVE_INFINITY);
  const atShare = (share: number) => limited(fullSpeed * share);
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

/** From this share of a limit on it is the limit that work goes by. */
const nearly = 0.9;

/** Seconds that the rest takes at the rate seen in these points, less what it will still lose. */
function heldBack(points: readonly Point[], total: number, limit: number | null): number {
  const [first, last] = [points[0] as Point, points.at(-1) as Point];
  const seconds = last.at - first.at;
  const rate = (last.rows - first.rows) / seconds;
  const left = Math.max(0, total - last.rows);
  if (limit !== null && rate >= limit * nearly) return left / limit;
  const changes = Math.max(0, (last.changes ?? 0) - (first.changes ?? 0)) / seconds;
  const costs = points.flatMap(({ rowsPerChange }) => rowsPerChange ?? []);
  const cost = costs.length ? mean(costs) : 0;
  const middle = (first.rows + last.rows) / 2 / total;
  // by the last row; the throttle leaves the copy half of the WAL there may be, whatever others write
  const loses = Math.min(changes * cost, rate / (2 - middle));
  const now = rate - loses * (last.rows / total - middle); // what was seen is the rate in the middle of it
  const byLimit = limit === null ? 0 : left / limit;
  return Math.max(byLimit, (left / now) * stretch((loses * left) / total / now));
}

/** How much longer it takes when the rate falls by `decline` to the end, evenly over the rows: ∫ dx / (1 − decline · x). */
const stretch = (decline: number) => (decline > 0 ? -Math.log(1 - decline) / decline : 1);

/** Whether it was slowed down meanwhile. A share of nothing is a stand to measure, or a stop, which is followed by less. */
function fell(points: readonly Point[]): boolean {
  const shares = points.flatMap(({ share }) => (share > 0 ? [share] : []));
  return shares.some((share, i) => share < (shares[i - 1] ?? 0));
}

/** A key of T is looked up in this share of the time that a row of S is compared in. */
export const lookUp = 0.65;

/**
 * By measure (`npm run bench -- estimates`): the comparison of all rows, which one session does, takes twice as long as
 * copying them at full speed with two lanes. Machines differ: where parts of the comparison went faster, that counts, and all
 * of it is replaced by what is seen once verification runs. Beside the comparison an index takes a sixth of its time, vacuum
 * and statistics an eighth.
 */
const compareBesideCopy = 2;
const besideCompare = { index: 1 / 6, vacuum: 1 / 8 };
/**
 * Half of what holds the copy back holds the comparison back too: it writes nothing, but takes processor time. Where copies
 * were driven at 0.25 to 0.55 of full speed, comparisons were at 0.48 to 0.78.
 */
const shareOfComparing = (share: number) => (1 + share) / 2;

/**
 * Seconds after the copy until writes may be cut over.
 * @param copy its rate lately, and what it reaches with nothing to hold it back, in rows a second
 * @param indexes of the target that are built after the copy
 * @param compareSpeed rows a second that a part of the comparison did at best; null: not known. It was done beside the copy,
 *   and is slower than the comparison will be where both want the same processors
 */
export function estimateAfterwards(
  total: number,
  copy: { readonly rate: number; readonly fullSpeed: number },
  indexes: number,
  compareSpeed: number | null = null,
): number {
  const tried = compareSpeed === null ? Number.POSITIVE_INFINITY : (total * (1 + lookUp)) / compareSpeed;
  const compare = Math.min(tried, (total / copy.fullSpeed) * compareBesideCopy);
  const undriven = compare * (besideCompare.vacuum + indexes * besideCompare.index);
  return undriven + compare / shareOfComparing(copy.rate / copy.fullSpeed);
}
