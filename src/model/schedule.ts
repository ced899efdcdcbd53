/** Where the reference times of training rows lie, in horizons before the time of training: dense, then sparse. */
export const referenceOffsets = [1, 2, 3, 4, 6, 8, 11, 15] as const;
/** Past windows on which predictors are compared. */
const validationOffsets = [4, 3, 2, 1] as const;
/** Extra, overlapping windows for tuning the half-life when the log is too short for three separate ones. */
const overlapOffsets = [1.75, 1.5, 1.25] as const;
/** With less than half a horizon of log before it, a window's features say next to nothing. */
const LEAST_HISTORY = 0.5;
/** Fewer past windows than this have no standard error worth the name. */
export const LEAST_WINDOWS = 3;

/**
 * When to look at the log. Times are *offsets*: horizons before T, so that the same moment is the same number however it
 * was reached. A window begins at an offset and ends at that offset less one, which is never after T.
 */
export interface Schedule {
  /** length of the log before T, in horizons */
  readonly history: number;
  /** windows on which the half-life is tuned, earliest first */
  readonly tuning: readonly number[];
  /** windows on which the network is compared with the rest, earliest first; empty when there are fewer than three */
  readonly validation: readonly number[];
  /** references of the final training rows, earliest first */
  readonly references: readonly number[];
}

/** @param history length of the log before T, in horizons */
export function schedule(history: number): Schedule {
  const known = (offset: number) => history - offset >= LEAST_HISTORY;
  const separate = validationOffsets.filter(known);
  const overlapping = [...separate, ...overlapOffsets.filter(known)].sort((a, b) => b - a);
  const validation = separate.filter((offset) => referencesBefore(history, offset).length > 0);
  return {
    history,
    tuning: separate.length >= LEAST_WINDOWS ? separate : overlapping,
    validation: validation.length >= LEAST_WINDOWS ? validation : [],
    references: referencesBefore(history, 0),
  };
}

/** References for a network that is trained at `offset`: their label windows end at or before it. Earliest first. */
export function referencesBefore(history: number, offset: number): number[] {
  return referenceOffsets
    .map((back) => offset + back)
    .filter((reference) => history - reference >= LEAST_HISTORY)
    .reverse();
}
