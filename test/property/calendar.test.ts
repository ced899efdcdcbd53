import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseCalendar } from '../../src/calendar/calendar-file.ts';
import { splitLine } from '../../src/calendar/csv.ts';
import { monthEnds, publicHolidays } from '../../src/calendar/index.ts';
import { parseInstant } from '../../src/calendar/instant.ts';
import { dayAt, startOfDay } from '../../src/calendar/time-zone.ts';

const zones = Intl.supportedValuesOf('timeZone');
const zone = fc.constantFrom(...zones);
// Since 2012 no place has left out a whole day, as Samoa did before it.
const second = fc.integer({ min: Date.UTC(2012, 1) / 1000, max: Date.UTC(2050, 0) / 1000 });
const field = fc.string({ maxLength: 12, unit: fc.constantFrom('a', 'ß', ',', '"', ' ', "'", ';') });
const quoted = (text: string) => `"${text.replaceAll('"', '""')}"`;

describe('calendar', () => {
  test('a day begins where its local date begins', () => {
    fc.assert(
      fc.property(zone, second, (timeZone, at) => {
        const day = dayAt(at, timeZone);
        const start = startOfDay(day, timeZone);
        expect(start).toBeLessThanOrEqual(at);
        expect(dayAt(start, timeZone)).toEqual(day);
        expect(dayAt(start - 1, timeZone)).not.toEqual(day);
      }),
      { numRuns: 300 },
    );
  });

  test('months end on local month ends, one each, in order, all of them that overlap', () => {
    const span = fc.record({ from: second, length: fc.integer({ min: 0, max: 900 * 86_400 }) });
    fc.assert(
      fc.property(zone, span, fc.integer({ min: 1, max: 28 }), (timeZone, { from, length }, days) => {
        const until = from + length;
        const found = monthEnds({ timeZone, from, until, days });
        const wide = monthEnds({ timeZone, from: from - 86_400 * 70, until: until + 86_400 * 70, days });
        expect(found).toEqual(wide.filter(({ start, end }) => start < until && end > from));
        for (const { start, end } of found) {
          const last = dayAt(end - 1, timeZone);
          expect(dayAt(end, timeZone).month).not.toBe(last.month);
          const skipped = last.day - dayAt(start, timeZone).day + 1 - days;
          expect(skipped).toBe(0);
          // summer time and the like: a zone that moves, as Antarctica/Casey does, moves by three hours at most
          expect(Math.abs(end - start - days * 86_400)).toBeLessThanOrEqual(3 * 3600);
        }
      }),
      { numRuns: 100 },
    );
  });

  test('holidays of a span are those of a wider one that overlap it', () => {
    const place = fc.constantFrom(
      { country: 'DE', region: 'BY', timeZone: 'Europe/Berlin' },
      { country: 'US', timeZone: 'America/New_York' },
      { country: 'IL', timeZone: 'Asia/Jerusalem' },
      { country: 'JP', timeZone: 'Asia/Tokyo' },
    );
    const start = fc.integer({ min: Date.UTC(2000, 0) / 1000, max: Date.UTC(2040, 0) / 1000 });
    fc.assert(
      fc.property(place, start, fc.integer({ min: 0, max: 40 * 86_400 }), (where, from, length) => {
        const until = from + length;
        const found = publicHolidays({ ...where, from, until });
        const year = 366 * 86_400;
        const wide = publicHolidays({ ...where, from: from - year, until: until + year });
        expect(found).toEqual(wide.filter((event) => event.start < until && event.end > from));
        expect(wide.length).toBeGreaterThan(10);
        for (const event of wide) expect(event.end - event.start).toBeGreaterThan(0);
      }),
      { numRuns: 25 },
    );
  });

  test('a written calendar is read back as it was, sorted', () => {
    const event = fc.record({
      start: fc.double({ min: -1e10, max: 1e10, noNaN: true }),
      length: fc.double({ min: 1, max: 1e9, noNaN: true }),
      group: field,
      kind: field.map((text) => text.trim()),
      weight: fc.double({ min: 0, max: 1e6, noNaN: true }),
    });
    fc.assert(
      fc.property(fc.array(event, { maxLength: 20 }), (events) => {
        const lines = events.map((e) =>
          [e.weight, quoted(e.group), e.start, e.start + e.length, quoted(e.kind)].join(','),
        );
        const read = parseCalendar(['weight,group,start,end,kind', ...lines].join('\n'), 'c.csv');
        const text = (e: object) => JSON.stringify(Object.entries(e).sort());
        const wanted = events.map((e) => ({
          start: e.start + 0,
          end: e.start + e.length,
          group: e.group || null,
          kind: e.kind,
          weight: e.weight,
        }));
        expect(read.map(text).sort()).toEqual(wanted.map(text).sort());
        expect(read.every((e, i) => i === 0 || read[i - 1]!.start <= e.start)).toBe(true);
      }),
    );
  });

  test('a line splits into the fields that it was joined from; any other line is refused or split, never a crash', () => {
    fc.assert(
      fc.property(fc.array(field, { minLength: 1, maxLength: 6 }), (fields) => {
        expect(splitLine(fields.map(quoted).join(','))).toEqual(fields);
        const bare = fields.map((text) => text.replace(/[",]/g, ''));
        expect(splitLine(bare.join(','))).toEqual(bare);
      }),
    );
    fc.assert(
      fc.property(field, (line) => {
        const fields = splitLine(line);
        expect(fields === null || fields.length >= 1).toBe(true);
      }),
    );
  });

  test('every ISO time is read as the platform reads it', () => {
    fc.assert(
      fc.property(fc.date({ min: new Date(0), max: new Date(4e12), noInvalidDate: true }), (date) => {
        expect(parseInstant(date.toISOString())).toBeCloseTo(date.getTime() / 1000, 6);
      }),
    );
  });
});
