/** Something known in advance that moves rows' use: a sale, a holiday, the end of a month. Times are Unix seconds. */
export interface CalendarEvent {
  readonly start: number;
  /** exclusive, after start */
  readonly end: number;
  /** the value of the migration's group column that it concerns; null: every row */
  readonly group: string | null;
  /** what sort of event; '' when none is told */
  readonly kind: string;
  /** how strong beside others of its kind, ≥ 0; 1 when none is told */
  readonly weight: number;
}

/** By start, then by everything else, so that the order of a file changes nothing. */
export function compareEvents(a: CalendarEvent, b: CalendarEvent): number {
  return (
    a.start - b.start ||
    a.end - b.end ||
    compareText(a.group ?? '', b.group ?? '') ||
    compareText(a.kind, b.kind) ||
    a.weight - b.weight
  );
}

const compareText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
