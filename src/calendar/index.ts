/** External factors: what is known in advance about times at which rows are used more, or less. */
export { readCalendarFile } from './calendar-file.ts';
export type { CalendarEvent } from './event.ts';
export { type HolidayPlace, holidayProblem, publicHolidays } from './holidays.ts';
export { monthEnds, type Span } from './month-ends.ts';
