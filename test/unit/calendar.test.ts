import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseCalendar } from '../../src/calendar/calendar-file.ts';
import { monthEnds, publicHolidays, readCalendarFile } from '../../src/calendar/index.ts';
import { parseInstant } from '../../src/calendar/instant.ts';
import { startOfDay } from '../../src/calendar/time-zone.ts';

const utc = (text: string) => Date.parse(text) / 1000;
const iso = (at: number) => new Date(at * 1000).toISOString();

describe('calendar file', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'foreshadow-calendar-'));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  const text =
    '\uFEFFkind,end,start,weight,group\r\n' +
    'sale,200,100.5,2.5,"a,""b"""\r\n\r\n' +
    ',2026-11-28,2026-11-27T08:00:00+01:00,,\n' +
    'sale,99,-5,0,t1';
  const events = [
    { start: -5, end: 99, group: 't1', kind: 'sale', weight: 0 },
    { start: 100.5, end: 200, group: 'a,"b"', kind: 'sale', weight: 2.5 },
    {
      start: utc('2026-11-27T07:00:00Z'),
      end: utc('2026-11-28T00:00:00Z'),
      group: null,
      kind: '',
      weight: 1,
    },
  ];

  it('reads plain and gzipped CSV, columns in any order, by start', async () => {
    const path = join(folder, 'calendar.csv');
    await writeFile(path, text);
    expect(await readCalendarFile(path)).toEqual(events);
    await writeFile(path, gzipSync(text));
    expect(await readCalendarFile(path)).toEqual(events);
  });

  it('needs no kind and no weight, and no events', () => {
    expect(parseCalendar('start,end,group\n1,2,g\n', 'c.csv')).toEqual([
      { start: 1, end: 2, group: 'g', kind: '', weight: 1 },
    ]);
    expect(parseCalendar('start,end,group', 'c.csv')).toEqual([]);
  });

  it.each([
    ['', 'c.csv:1: the header of a calendar is start,end,group[,kind][,weight]; it has no column ""'],
    ['start,end\n1,2', 'c.csv:1: .* "group" is missing'],
    ['start,end,group,colour', 'c.csv:1: .* it has no column "colour"'],
    ['start,end,group,end', 'c.csv:1: .* "end" is there twice'],
    ['start,end,group\n1,2,a\n\n5,5,a', 'c.csv:4: end must be after start, but 5 is not after 5'],
    ['start,end,group\nsoon,2,a', 'c.csv:2: start must be a number of seconds or an ISO 8601 .* not "soon"'],
    ['start,end,group\n1,,a', 'c.csv:2: end must be a number .* not ""'],
    ['start,end,group\n1,Infinity,a', 'c.csv:2: end must be a number'],
    ['start,end,group\n1,1e999,a', 'c.csv:2: end must be a number'],
    ['start,end,group\n1,2026-02-29,a', 'c.csv:2: end must be a number'],
    ['start,end,group\n1,2', 'c.csv:2: it has 2 fields, and the header 3'],
    ['start,end,group\n1,2,a,b', 'c.csv:2: it has 4 fields, and the header 3'],
    ['start,end,group\n1,2,"a', 'c.csv:2: a quote is unmatched'],
    ['start,end,group,weight\n1,2,a,-1', 'c.csv:2: weight must be a number of at least 0, not "-1"'],
    ['start,end,group,weight\n1,2,a,much', 'c.csv:2: weight must be a number of at least 0, not "much"'],
  ])('refuses %j, naming file and line', (content, message) => {
    const pattern = new RegExp(`^${message.replaceAll('[,', '\\[,').replaceAll('c.csv', 'c\\.csv')}`);
    expect(() => parseCalendar(content, 'c.csv')).toThrow(
      expect.objectContaining({ code: 'USAGE', message: expect.stringMatching(pattern) }),
    );
  });

  it('says so when the file is missing or cut off', async () => {
    const path = join(folder, 'cut.csv.gz');
    await expect(readCalendarFile(path)).rejects.toMatchObject({ code: 'USAGE', detail: { path } });
    await writeFile(path, gzipSync(text).subarray(0, 40));
    await expect(readCalendarFile(path)).rejects.toMatchObject({ code: 'USAGE', detail: { path } });
  });
});

describe('times', () => {
  it.each([
    ['1764230400', 1764230400],
    ['-1.5e3', -1500],
    ['2026-11-27', utc('2026-11-27T00:00:00Z')],
    ['2026-11-27T08:00', utc('2026-11-27T08:00:00Z')],
    ['2026-11-27 08:00:00.25Z', utc('2026-11-27T08:00:00.25Z')],
    ['2026-11-27T08:00:00-0330', utc('2026-11-27T11:30:00Z')],
    ['2026-11-27T24:00:00Z', utc('2026-11-28T00:00:00Z')],
    ['2024-02-29T00:00:00Z', utc('2024-02-29T00:00:00Z')],
  ])('reads %s', (text, at) => expect(parseInstant(text)).toBe(at));

  it.each([
    '',
    '2026',
    '2026-13-01',
    '2026-04-31',
    '2026-04-30T24:01Z',
    '2026-04-30T12:60Z',
    '0x10',
    '1 2',
  ])('does not read %j as a day', (text) => expect(parseInstant(text)).toBe(text === '2026' ? 2026 : null));
});

describe('public holidays', () => {
  const year = (n: number) => ({ from: utc(`${n}-01-01T00:00:00Z`), until: utc(`${n + 1}-01-01T00:00:00Z`) });
  const starting = (found: readonly { start: number; end: number }[], at: string) =>
    found.find(({ start }) => start === utc(at));

  it('begin and end at midnight of their time zone', () => {
    const until = utc('2026-12-31T23:00:00Z');
    const found = publicHolidays({ country: 'DE', timeZone: 'Europe/Berlin', ...year(2026), until });
    expect(found.map(({ start }) => iso(start))).toEqual([
      '2025-12-31T23:00:00.000Z', // New Year
      '2026-04-02T22:00:00.000Z', // Good Friday, in summer time
      '2026-04-05T22:00:00.000Z', // Easter Monday
      '2026-04-30T22:00:00.000Z', // Labour Day
      '2026-05-13T22:00:00.000Z', // Ascension
      '2026-05-24T22:00:00.000Z', // Whit Monday
      '2026-10-02T22:00:00.000Z', // German Unity
      '2026-12-24T23:00:00.000Z', // Christmas
      '2026-12-25T23:00:00.000Z',
    ]);
    expect(found.every((event) => event.end - event.start === 86_400)).toBe(true);
    expect(found[0]).toMatchObject({ group: null, kind: 'holiday', weight: 1 });
  });

  it('last 23 hours where the clock goes forward, 25 where it goes back', () => {
    // Easter Sunday is a holiday in Brandenburg; Austria's national day fell on the end of summer time.
    const easter = publicHolidays({
      country: 'DE',
      region: 'BB',
      timeZone: 'Europe/Berlin',
      ...year(2024),
    });
    expect(starting(easter, '2024-03-30T23:00:00Z')?.end).toBe(utc('2024-03-31T22:00:00Z'));
    const austria = publicHolidays({ country: 'AT', timeZone: 'Europe/Vienna', ...year(2025) });
    expect(starting(austria, '2025-10-25T22:00:00Z')?.end).toBe(utc('2025-10-26T23:00:00Z'));
  });

  it('lie in the named time zone, not in the country’s first one', () => {
    const options = { country: 'US', timeZone: 'America/Los_Angeles', ...year(2026) };
    const independence = starting(publicHolidays(options), '2026-07-04T07:00:00Z');
    expect(independence?.end).toBe(utc('2026-07-05T07:00:00Z'));
  });

  it('differ by region, and regions of it', () => {
    const of = (region?: string) =>
      publicHolidays({
        country: 'DE',
        timeZone: 'Europe/Berlin',
        ...(region ? { region } : {}),
        ...year(2026),
      }).length;
    expect(of('BY')).toBeGreaterThan(of());
    expect(of('BY.A')).toBeGreaterThan(of('BY'));
  });

  it('are those that overlap the span, and count a shared day once', () => {
    const noon = utc('2026-12-25T12:00:00Z');
    const place = { country: 'DE', timeZone: 'Europe/Berlin' };
    expect(publicHolidays({ ...place, from: noon, until: noon + 1 })).toHaveLength(1);
    expect(publicHolidays({ ...place, from: noon, until: noon + 86_400 })).toHaveLength(2);
    // Labour Day and Ascension were one day in 2008.
    const may = publicHolidays({
      ...place,
      from: utc('2008-04-30T22:00:00Z'),
      until: utc('2008-05-01T22:00:00Z'),
    });
    expect(may).toHaveLength(1);
  });

  const bad: [Partial<Parameters<typeof publicHolidays>[0]>, RegExp][] = [
    [{ country: 'XX' }, /country is no country .*: "XX"/],
    [{ country: 'constructor' }, /country is no country .*: "constructor"/],
    [{ region: 'ZZ' }, /is no region of DE: "ZZ"; known: BB, BE/],
    [{ region: 'BY.Q' }, /is no region of DE-BY: "BY.Q"; known: BY.A,/],
    [{ region: 'BY.A.A' }, /is no region of DE-BY: "BY.A.A"/],
    [{ region: 'toString' }, /is no region of DE: "toString"/],
    [{ timeZone: 'Mars/Olympus' }, /timeZone is no time zone: "Mars\/Olympus"/],
    [{ timeZone: '+01:00' }, /timeZone is no time zone: "\+01:00"/],
    [{ until: Number.NaN }, /between 1900 and 2200/],
    [{ until: -1 }, /between 1900 and 2200/],
  ];
  it.each(bad)('refuse %j', (part, message) => {
    const options = { country: 'DE', timeZone: 'Europe/Berlin', ...year(2026), ...part };
    expect(() => publicHolidays(options)).toThrow(
      expect.objectContaining({ code: 'USAGE', message: expect.stringMatching(message) }),
    );
  });
});

describe('month ends', () => {
  it('are the last days of the month where people are', () => {
    const found = monthEnds({
      timeZone: 'America/New_York',
      from: utc('2026-01-15T00:00:00Z'),
      until: utc('2026-04-01T00:00:00Z'),
      days: 2,
    });
    expect(found.map(({ start, end }) => [iso(start), iso(end)])).toEqual([
      ['2026-01-30T05:00:00.000Z', '2026-02-01T05:00:00.000Z'],
      ['2026-02-27T05:00:00.000Z', '2026-03-01T05:00:00.000Z'],
      ['2026-03-30T04:00:00.000Z', '2026-04-01T04:00:00.000Z'],
    ]);
    expect(found[0]).toMatchObject({ group: null, kind: 'month-end', weight: 1 });
  });

  it('know a day of 23 hours', () => {
    const [march] = monthEnds({
      timeZone: 'Europe/Berlin',
      from: utc('2024-03-31T12:00:00Z'),
      until: utc('2024-03-31T13:00:00Z'),
    });
    expect(march!.end - march!.start).toBe(23 * 3600);
  });

  it.each([0, 29, 1.5])('refuse %d days', (days) => {
    expect(() => monthEnds({ timeZone: 'UTC', from: 0, until: 1, days })).toThrow(/days must be/);
  });
});

describe('the start of a day', () => {
  it.each([
    // the clock goes from 00:00 to 01:00: the day has no midnight
    ['Africa/Cairo', { year: 2024, month: 4, day: 26 }, '2024-04-25T22:00:00Z'],
    ['Asia/Kathmandu', { year: 2026, month: 1, day: 1 }, '2025-12-31T18:15:00Z'],
    ['Pacific/Kiritimati', { year: 2026, month: 1, day: 1 }, '2025-12-31T10:00:00Z'],
    ['Pacific/Pago_Pago', { year: 2026, month: 1, day: 1 }, '2026-01-01T11:00:00Z'],
  ])('in %s', (zone, day, at) => expect(iso(startOfDay(day, zone))).toBe(iso(utc(at))));
});
