/** How hard lanes may copy. The object is replaced as a whole, so a lane sees the old one or the new one. */
export interface Pace {
  /** share of its time that a lane may copy: 1 without a pause, 0 not at all */
  readonly share: number;
  /** how long a chunk should take, in ms */
  readonly chunkMs: number;
  /** rows a second, of all lanes together; null: as many as there is time for */
  readonly rowsPerSecond: number | null;
}

/** Whoever changes the mode of the lanes waits for their transactions, so a chunk takes 50 ms where nothing else is said. */
export const fullSpeed: Pace = { share: 1, chunkMs: 50, rowsPerSecond: null };

/** A copy that begins asks for this many rows, and finds out from there how many its time allows. */
export const firstChunkRows = 500;
/** Below this, what a chunk takes is hardly the rows' doing: a transaction, and the wait for a processor. */
const fewestChunkRows = 100;

/**
 * Rows of the next chunk, by the time that the last one took: cut down in proportion when it took too long, to a half at
 * most since one slow chunk may be chance; twice as many while there is more than twice the time, else a little more at a time. Additive growth and multiplicative decrease find
 * the size again when the machine becomes slower or faster.
 */
export function nextChunkRows(rows: number, ms: number, pace: Pace, lanes: number, most: number): number {
  const bound = mostChunkRows(pace, lanes, most);
  let next = rows;
  if (ms > pace.chunkMs) next = Math.floor(rows * Math.max(0.5, pace.chunkMs / ms));
  else if (ms < pace.chunkMs / 2) next = rows * 2;
  else if (ms < 0.9 * pace.chunkMs) next = rows + Math.max(1, Math.ceil(bound / 50));
  return Math.max(Math.min(fewestChunkRows, bound), Math.min(bound, next));
}

/** A limit of rows a second is kept by many small chunks, not by a large one and a long wait. */
export function mostChunkRows({ rowsPerSecond }: Pace, lanes: number, most: number): number {
  if (rowsPerSecond === null) return most;
  return Math.max(1, Math.min(most, Math.floor(rowsPerSecond / lanes / 2)));
}

/** How long a lane waits after a chunk of `rows` that took `ms`, in ms; Infinity: until the pace changes. */
export function restAfter(pace: Pace, lanes: number, rows: number, ms: number): number {
  if (pace.share <= 0) return Number.POSITIVE_INFINITY;
  const byShare = (ms * (1 - pace.share)) / pace.share;
  const byRate = pace.rowsPerSecond === null ? 0 : (1000 * rows * lanes) / pace.rowsPerSecond - ms;
  return Math.max(0, byShare, byRate);
}
