import { ForeshadowError } from '../core/errors.ts';
import type { CalendarEvent } from './event.ts';
import { dayAt, isTimeZone, startOfDay } from './time-zone.ts';

/** A stretch of time in Unix seconds: from ≤ t < until. */
export interface Span {
  readonly from: number;
  readonly until: number;
}

/**
 * The last days of every month, when books are closed: one event a month of kind `month-end`, for every row, from the
 * first second of its first day to the last of the month in this time zone.
 * @param days how many last days, 1–28
 * @returns those that overlap the span, whole, by start
 * @throws ForeshadowError USAGE for an unknown time zone, a number of days that is none, a span without an end
 */
export function monthEnds(options: Span & { timeZone: string; days?: number }): CalendarEvent[] {
  const { timeZone, from, until, days = 1 } = options;
  checkSpan(options);
  if (!isTimeZone(timeZone))
    throw new ForeshadowError('USAGE', `month ends: timeZone is no time zone: "${timeZone}"`);
  if (!(Number.isInteger(days) && days >= 1 && days <= 28))
    throw new ForeshadowError('USAGE', `days must be a whole number from 1 to 28, not ${days}`);
  const events: CalendarEvent[] = [];
  const first = dayAt(from, timeZone);
  for (let months = 0; ; months++) {
    // Day 0 of a month is the last of the one before; Date.UTC carries months over years.
    const next = new Date(Date.UTC(first.year, first.month + months, 1));
    const begin = new Date(Date.UTC(first.year, first.month + months, 1 - days));
    const start = startOfDay(dayOf(begin), timeZone);
    if (start >= until) return events;
    const end = startOfDay(dayOf(next), timeZone);
    if (end > from && end > start) events.push({ start, end, group: null, kind: 'month-end', weight: 1 });
  }
}

const dayOf = (date: Date) => ({
  year: date.getUTCFullYear(),
  month: date.getUTCMonth() + 1,
  day: date.getUTCDate(),
});

const MOST_SECONDS = 200 * 366 * 86_400;

/** @throws ForeshadowError USAGE for a span that ends before it begins, or is not of this world */
export function checkSpan({ from, until }: Span): void {
  const inRange = (at: number) => at >= -2_208_988_800 && at < 7_258_118_400;
  if (inRange(from) && inRange(until) && from <= until && until - from <= MOST_SECONDS) return;
  throw new ForeshadowError(
    'USAGE',
    `a calendar spans times between 1900 and 2200 in seconds, not ${from} to ${until}`,
  );
}
