import { type Season, seasonSeconds } from './spec.ts';

/** Phases are counted in hours of the week, UTC. Four-hour shifts of daylight saving do not exist; one hour blurs. */
export const HOUR = 3600;
export const HOURS_OF_WEEK = 168;
export const HOURS_OF_DAY = 24;

/** The hour of the week that holds `at`, 0–167; 0 begins when the epoch does. */
export function hourOfWeek(at: number): number {
  const week = seasonSeconds.week;
  return Math.floor((((at % week) + week) % week) / HOUR);
}

/** Calls `visit` with each hour of the week that [from, to) touches, in order, and the seconds of it that lie within. */
export function eachHour(from: number, to: number, visit: (hour: number, seconds: number) => void): void {
  for (let at = from; at < to; ) {
    const end = Math.min(to, (Math.floor(at / HOUR) + 1) * HOUR);
    // where seconds are too coarse for the sum, move on all the same
    const next = end > at ? end : at + HOUR;
    visit(hourOfWeek(at), Math.min(next, to) - at);
    at = next;
  }
}

/** Seconds of [from, to) in each hour of the week. */
export function hoursExposed(from: number, to: number): Float64Array {
  const exposed = new Float64Array(HOURS_OF_WEEK);
  if (!(to > from)) return exposed;
  const weeks = Math.floor((to - from) / seasonSeconds.week);
  exposed.fill(weeks * HOUR);
  eachHour(from + weeks * seasonSeconds.week, to, (hour, seconds) => {
    exposed[hour]! += seconds;
  });
  return exposed;
}

/** Phases that a row remembers: hours of the day, six-hour parts of the week. */
export const rowPhases: Readonly<Record<Season, { readonly count: number; readonly hours: number }>> = {
  day: { count: 24, hours: 1 },
  week: { count: 28, hours: 6 },
};

/** Which of a row's phases an hour of the week belongs to. */
export function rowPhase(season: Season, hour: number): number {
  const { count, hours } = rowPhases[season];
  return Math.floor(hour / hours) % count;
}
