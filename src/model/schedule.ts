import { type Season, seasonSeconds } from '../features/spec.ts';

/** Where the reference times of training rows lie, in horizons before the time of training: dense, then sparse. */
export const referenceOffsets = [1, 2, 3, 4, 6, 8, 11, 15] as const;
/** The same phase of past days and weeks: how many seasons back. */
const referenceSeasons = { day: [1, 2, 3, 4, 5, 6, 7], week: [1, 2, 3] } as const;
/** Past windows on which predictors are compared. */
const validationOffsets = [4, 3, 2, 1] as const;
/** With a season, the windows have the phase that the prediction will have. */
const validationSeasons = { day: [7, 3, 2, 1], week: [4, 3, 2, 1] } as const;
/** Each trained network is also asked about a window that begins so much later: it overlaps, but costs no training. */
const LATER = 0.5;
/** Extra, overlapping windows for tuning the half-life when the log is too short for three separate ones. */
const overlapOffsets = [1.75, 1.5, 1.25] as const;
/** With less than half a horizon of log before it, a window's features say next to nothing. */
const LEAST_HISTORY = 0.5;
/** Fewer past windows than this have no standard error worth the name. */
export const LEAST_WINDOWS = 3;
/** At most so many announced events of the past are learnt from. */
const MOST_EVENTS = 8;

/**
 * When to look at the log. Times are *offsets*: horizons before T, so that the same moment is the same number however it
 * was reached. A window begins at an offset and ends at that offset less one, which is never after T.
 */
export interface Schedule {
  /** length of the log before T, in horizons */
  readonly history: number;
  /** windows on which half-lives are tuned, earliest first */
  readonly tuning: readonly number[];
  /** when networks are trained to be compared with the rest, earliest first; empty when there are fewer than three */
  readonly validation: readonly Validation[];
  /** references of a network that is trained at an offset: their label windows end at or before it. Earliest first */
  readonly referencesBefore: (offset: number) => readonly number[];
}

/** A network is trained at `offset` and asked about windows, its own and, where there is room, a later one. */
export interface Validation {
  readonly offset: number;
  /** earliest first */
  readonly windows: readonly number[];
}

export interface ScheduleOptions {
  /** length of the log before T, in horizons */
  readonly history: number;
  readonly horizonSeconds: number;
  readonly seasons: readonly Season[];
  /** offsets at which announced events began */
  readonly events?: readonly number[];
}

export function schedule({ history, horizonSeconds, seasons, events = [] }: ScheduleOptions): Schedule {
  const known = (offset: number) => history - offset >= LEAST_HISTORY;
  const inHorizons = (season: Season, count: number) => (count * seasonSeconds[season]) / horizonSeconds;
  const seasonal = (counts: Readonly<Record<Season, readonly number[]>>) =>
    seasons.flatMap((season) => counts[season].map((count) => inHorizons(season, count)));
  const referencesBefore = (offset: number) => {
    const backs = [...referenceOffsets, ...seasonal(referenceSeasons)].map((back) => offset + back);
    // a window that begins a quarter of a horizon before an event shows what the announcement was worth
    const begun = events.map((event) => event + 0.25).filter((event) => event >= offset + 1);
    const latest = begun.sort((a, b) => a - b).slice(0, MOST_EVENTS);
    return [...new Set([...backs, ...latest])].filter(known).sort((a, b) => b - a);
  };
  const inPhase = seasons.map((season) =>
    validationSeasons[season].map((count) => inHorizons(season, count)).filter(known),
  );
  const trained = (offsets: readonly number[]) =>
    offsets.filter((offset) => referencesBefore(offset).length > 0);
  const seasonalWindows = inPhase.find((offsets) => trained(offsets).length >= LEAST_WINDOWS);
  const separate = seasonalWindows ?? validationOffsets.filter(known);
  // half a horizon later is another phase, where there are phases
  const later = (offset: number) =>
    !seasonalWindows && offset - LATER >= 1 ? [offset, offset - LATER] : [offset];
  const overlapping = [...separate, ...overlapOffsets.filter(known)].sort((a, b) => b - a);
  const validation = trained(separate).map((offset) => ({ offset, windows: later(offset) }));
  return {
    history,
    tuning: separate.length >= LEAST_WINDOWS ? separate.flatMap(later) : overlapping,
    validation: validation.length >= LEAST_WINDOWS ? validation : [],
    referencesBefore,
  };
}
