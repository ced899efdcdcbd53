/** A day of the calendar, without a place. Months count from 1. */
export interface Day {
  readonly year: number;
  readonly month: number;
  readonly day: number;
}

/** Whether this is a name of the IANA time-zone database that the runtime knows, such as Europe/Berlin. */
export function isTimeZone(name: string): boolean {
  try {
    // An offset such as +01:00 is accepted by some runtimes and not by others, and knows no summer time.
    return /^[A-Za-z]/.test(name) && dayNumberIn(name)(0) <= 1;
  } catch {
    return false;
  }
}

/**
 * The first second of a day in a time zone, Unix seconds. Where summer time begins at midnight that is 01:00; the
 * day is then 23 hours long, as it should be.
 */
export function startOfDay({ year, month, day }: Day, timeZone: string): number {
  const wanted = Date.UTC(year, month - 1, day) / 86_400_000;
  const dayNumber = dayNumberIn(timeZone);
  // No zone was ever more than 16 hours from UTC. Local dates do not go back, so halving finds where this one begins.
  let before = wanted * 86_400 - 57_600;
  let after = wanted * 86_400 + 57_600;
  while (after - before > 1) {
    const middle = Math.floor((before + after) / 2);
    if (dayNumber(middle) >= wanted) after = middle;
    else before = middle;
  }
  return after;
}

/** The day that it is in a time zone at a time in Unix seconds. */
export function dayAt(at: number, timeZone: string): Day {
  const date = new Date(dayNumberIn(timeZone)(at) * 86_400_000);
  return { year: date.getUTCFullYear(), month: date.getUTCMonth() + 1, day: date.getUTCDate() };
}

const formats = new Map<string, Intl.DateTimeFormat>();

/** Days since 1970-01-01 of the local date, as a function of Unix seconds. @throws RangeError for an unknown zone */
function dayNumberIn(timeZone: string): (at: number) => number {
  let format = formats.get(timeZone);
  if (!format) {
    format = new Intl.DateTimeFormat('en-u-ca-iso8601', {
      timeZone,
      era: 'short',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
    });
    formats.set(timeZone, format);
  }
  const chosen = format;
  return (at) => {
    const parts = chosen.formatToParts(at * 1000);
    const part = (type: string) => Number(parts.find((one) => one.type === type)?.value);
    return Date.UTC(part('year'), part('month') - 1, part('day')) / 86_400_000;
  };
}
