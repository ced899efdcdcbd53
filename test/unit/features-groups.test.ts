import { describe, expect, it } from 'vitest';
import type { Access } from '../../src/core/access.ts';
import { seededRng } from '../../src/core/rng.ts';
import { Calendar } from '../../src/features/calendar.ts';
import { FeatureEngine } from '../../src/features/engine.ts';
import { hourOfWeek, hoursExposed } from '../../src/features/phase.ts';
import { featureSpec } from '../../src/features/spec.ts';

const HOUR = 3600;
const DAY = 24 * HOUR;
const horizon = 4 * HOUR;
const spec = featureSpec(horizon, { grouped: true });
const column = (name: string) => spec.columns.indexOf(name);
const groupOf = (key: string) => key.split(':')[0]!;
const event = (start: number, end: number, group: string | null, kind = '') => ({
  start,
  end,
  group,
  kind,
  weight: 1,
});

/** Tenants that are busy in their own half of the day: `by day` from 8 to 20, `by night` from 20 to 8; two rows each. */
function shifts(days: number, perHour = 12): Access[] {
  const rng = seededRng(5);
  const log: Access[] = [];
  for (let hour = 0; hour < days * 24; hour++) {
    const group = hour % 24 >= 8 && hour % 24 < 20 ? 'day' : 'night';
    for (let i = 0; i < perHour; i++) {
      const row = rng() < 0.75 ? 'hot' : 'cool';
      log.push({ key: `${group}:${row}`, op: 'R', at: hour * HOUR + rng() * HOUR });
    }
  }
  return log.sort((a, b) => a.at - b.at);
}

describe('phases', () => {
  it('counts hours of the week, also before the epoch', () => {
    expect(hourOfWeek(0)).toBe(0);
    expect(hourOfWeek(-1)).toBe(167);
    expect(hourOfWeek(8 * DAY + 2.5 * HOUR)).toBe(26);
    expect(hoursExposed(0, 0).every((seconds) => seconds === 0)).toBe(true);
    const exposed = hoursExposed(-0.5 * HOUR, 15 * DAY);
    expect(exposed.reduce((a, b) => a + b, 0)).toBe(15 * DAY + 0.5 * HOUR);
    expect(exposed[3]).toBe(3 * HOUR);
    expect(exposed[30]).toBe(2 * HOUR);
    expect(exposed[167]).toBe(2.5 * HOUR);
  });
});

describe('groups', () => {
  it('expect what the phase lets expect, which no decayed count can know', () => {
    const engine = new FeatureEngine(spec, { groupOf });
    engine.observeAll(shifts(14));
    const now = 14 * DAY + 20 * HOUR; // the day is over, the night begins
    const longest = spec.accessHalfLives.indexOf(128);
    const share = engine.groupShare(now, longest);
    const of = (key: string) => share[engine.slotOf(key)!]!;
    const perWindow = 4 * 12;
    expect(of('night:hot') / (0.75 * perWindow)).toBeGreaterThan(0.8);
    expect(of('night:hot') / (0.75 * perWindow)).toBeLessThan(1.2);
    expect(of('night:hot')).toBeGreaterThan(2 * of('night:cool'));
    expect(of('day:hot')).toBeLessThan(0.1 * of('night:cool'));
    const row = engine.matrix(now, [engine.slotOf('night:hot')!]);
    expect(row[column('group_phase')]).toBeCloseTo(Math.log(2), 1);
    expect(row[column('same_phase_of_day')]).toBeCloseTo(Math.log1p(0.75 * perWindow), 0);
    const idle = engine.matrix(now, [engine.slotOf('day:hot')!]);
    expect(idle[column('group_phase')]).toBeLessThan(-1.5);
    expect(idle[column('same_phase_of_day')]).toBe(0);
  });

  it('expect of an announced event what such events did, and do not take one for a season', () => {
    const sale = (day: number) => event(day * DAY + 8 * HOUR, day * DAY + 12 * HOUR, 'day');
    const log = shifts(14);
    for (const day of [3, 9]) {
      for (let i = 0; i < 48 * 9; i++) log.push({ key: 'day:hot', op: 'R', at: sale(day).start + i * 30 });
    }
    log.sort((a, b) => a.at - b.at);
    const now = 14 * DAY + 8 * HOUR;
    const longest = spec.accessHalfLives.indexOf(128);
    const expected = (events: ReturnType<typeof event>[]) => {
      const engine = new FeatureEngine(spec, { groupOf, events });
      engine.observeAll(log);
      const share = engine.groupShare(now, longest);
      const row = engine.matrix(now, [engine.slotOf('day:hot')!]);
      return {
        group: share[engine.slotOf('day:hot')!]! + share[engine.slotOf('day:cool')!]!,
        announced: row[column('announced')],
        ongoing: row[column('ongoing')],
      };
    };
    const past = [sale(3), sale(9)];
    const quiet = expected(past);
    expect(quiet.group / 48).toBeGreaterThan(0.8);
    expect(quiet.group / 48).toBeLessThan(1.2);
    expect(quiet.announced).toBe(0);
    const soon = expected([...past, event(now + HOUR, now + 3 * HOUR, 'day')]);
    expect(soon.announced).toBe(0.5);
    expect(soon.ongoing).toBe(0);
    // ten times the traffic, over half of the window
    expect(soon.group / quiet.group).toBeGreaterThan(4);
    expect(soon.group / quiet.group).toBeLessThan(6.5);
    expect(expected([...past, event(now - HOUR, now + HOUR, 'night')]).group).toBe(quiet.group);
    // an event of another kind, or the first one, is worth a doubling
    const other = expected([...past, event(now, now + 4 * HOUR, null, 'holiday')]);
    expect(other.group / quiet.group).toBeCloseTo(2, 1);
    expect(other.ongoing).toBe(1);
    // without a calendar the two sales look like a busy morning
    expect(expected([]).group).toBeGreaterThan(1.2 * quiet.group);
  });

  it('make no difference where there are none', () => {
    const plain = new FeatureEngine(featureSpec(horizon));
    plain.observeAll(shifts(3));
    const halfLife = 5;
    const ratios = plain
      .groupShare(3 * DAY, halfLife)
      .map((share, slot) => share / plain.ewma(3 * DAY, halfLife)[slot]!);
    for (const ratio of ratios) expect(ratio).toBeCloseTo(ratios[0]!, 12);
  });

  it('give rows that were never seen the prospects of their group', () => {
    const engine = new FeatureEngine(spec, { groupOf });
    engine.observeAll(shifts(14));
    const now = 14 * DAY + 8 * HOUR;
    expect(engine.outlook(now, 'day')).toBeGreaterThan(1.7);
    expect(engine.outlook(now, 'night')).toBeLessThan(0.2);
    expect(engine.outlook(now, 'never seen')).toBe(1);
    const sale = event(now, now + 4 * HOUR, 'night');
    const told = new FeatureEngine(spec, { groupOf, events: [sale] });
    told.observeAll(shifts(14));
    expect(told.outlook(now, 'night')).toBeCloseTo(2 * engine.outlook(now, 'night'), 5);
  });
});

describe('calendar', () => {
  it('finds the event that is on, among those of the group and those of all', () => {
    const calendar = new Calendar([
      event(50, 60, null),
      event(10, 20, 'a'),
      event(15, 30, 'b'),
      event(25, 40, 'a'),
    ]);
    const at = (group: string, time: number) => calendar.events[calendar.at(group, time)];
    expect(at('a', 9)).toBeUndefined();
    expect(at('a', 10)).toMatchObject({ start: 10 });
    expect(at('a', 20)).toBeUndefined();
    expect(at('a', 39)).toMatchObject({ start: 25 });
    expect(at('b', 29)).toMatchObject({ start: 15 });
    expect(at('b', 55)).toMatchObject({ start: 50 });
    expect(at('never named', 55)).toMatchObject({ start: 50 });
    expect(at('never named', 15)).toBeUndefined();
  });
});
