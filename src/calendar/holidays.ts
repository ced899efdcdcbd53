import { createRequire } from 'node:module';
import type Holidays from 'date-holidays';
import { ForeshadowError } from '../core/errors.ts';
import { type CalendarEvent, compareEvents } from './event.ts';
import { checkSpan, type Span } from './month-ends.ts';
import { dayAt, isTimeZone } from './time-zone.ts';

/** Whose holidays. */
export interface HolidayPlace {
  /** ISO 3166-1, two letters */
  readonly country: string;
  /** a state as in ISO 3166-2 without the country (`BY`), with a region of it after a dot (`la.no`) */
  readonly region?: string;
  /** IANA name: where these days begin and end */
  readonly timeZone: string;
}

let library: typeof Holidays | undefined;

/** Loaded when first needed: its rules of 200 countries take a fifth of a second and 20 MB. */
function holidays(): typeof Holidays {
  library ??= createRequire(import.meta.url)('date-holidays') as typeof Holidays;
  return library;
}

/** What is wrong with a place: the field, and what to say after its name. @returns null when nothing is */
export function holidayProblem(place: HolidayPlace): { field: keyof HolidayPlace; message: string } | null {
  const { country, region, timeZone } = place;
  if (!isTimeZone(timeZone)) {
    return {
      field: 'timeZone',
      message: `is no time zone: "${timeZone}"; take a name such as Europe/Berlin`,
    };
  }
  const known = new (holidays())();
  const countries = known.getCountries();
  if (!Object.hasOwn(countries, country)) {
    return {
      field: 'country',
      message: `is no country whose holidays are known: "${country}"; take two letters such as DE`,
    };
  }
  if (region === undefined) return null;
  const [state = '', part, ...rest] = region.split('.');
  const states = known.getStates(country) ?? {};
  const parts = Object.hasOwn(states, state) ? (known.getRegions(country, state) ?? {}) : {};
  if (!Object.hasOwn(states, state))
    return { field: 'region', message: unknownPlace(region, country, Object.keys(states)) };
  if (part === undefined) return null;
  if (rest.length || !Object.hasOwn(parts, part)) {
    const names = Object.keys(parts).map((name) => `${state}.${name}`);
    return { field: 'region', message: unknownPlace(region, `${country}-${state}`, names) };
  }
  return null;
}

function unknownPlace(region: string, where: string, names: readonly string[]): string {
  const known = names.length ? `known: ${names.join(', ')}` : 'none is known';
  return `is no region of ${where}: "${region}"; ${known}`;
}

/**
 * The public holidays of a country or a region of it (rules: date-holidays), for every row, of kind `holiday`: one
 * event for each stretch of time, though two holidays may share it.
 * @returns those that overlap the span, whole, by start; none in years that the rules do not cover
 * @throws ForeshadowError USAGE for an unknown country, region or time zone, or a span without an end
 */
export function publicHolidays(options: HolidayPlace & Span): CalendarEvent[] {
  const { country, region, timeZone, from, until } = options;
  checkSpan(options);
  const problem = holidayProblem(options);
  if (problem) throw new ForeshadowError('USAGE', `holidays: ${problem.field} ${problem.message}`);
  const place = region === undefined ? country : `${country}.${region}`;
  const rules = new (holidays())(place, { timezone: timeZone, types: ['public'] });
  const events = new Map<string, CalendarEvent>();
  // Where days begin at sunset, or a year's first day is moved, a holiday lies in the year beside its own.
  for (let year = dayAt(from, timeZone).year - 1; year <= dayAt(until, timeZone).year + 1; year++) {
    for (const holiday of rules.getHolidays(year)) {
      const start = holiday.start.getTime() / 1000;
      const end = holiday.end.getTime() / 1000;
      if (!(start < until && end > from && end > start)) continue;
      events.set(`${start} ${end}`, { start, end, group: null, kind: 'holiday', weight: 1 });
    }
  }
  return [...events.values()].sort(compareEvents);
}
