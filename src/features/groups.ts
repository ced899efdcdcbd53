import type { CalendarEvent } from '../calendar/index.ts';
import { Calendar, overlap } from './calendar.ts';
import { DecayBank, horizonFactor } from './decay.ts';
import { eachHour, HOURS_OF_DAY, HOURS_OF_WEEK, hourOfWeek, hoursExposed } from './phase.ts';
import { type GroupsSnapshot, refused } from './snapshot.ts';
import { type FeatureSpec, seasonSeconds } from './spec.ts';

/** A phase, or the effect of an event, counts for itself once it has seen this many accesses; less is shrunk. */
const PRIOR_ACCESSES = 5;
/** Before any event has been seen: an announced event is expected to double the traffic. */
const PRIOR_LIFT = 2;

/** A group takes a kilobyte. What comes after so many shares one group, as rows without a group do. */
const MOST_GROUPS = 100_000;

/** What is expected of each group in [now, now + H); one entry a group. */
export interface GroupForecast {
  /** accesses */
  readonly accesses: Float64Array;
  /** log of the phase: accesses expected without events, over those of an average horizon */
  readonly phase: Float64Array;
  /** accesses expected, phase and events included, over those of an average horizon without events */
  readonly outlook: Float64Array;
  /** share of the window with an announced event, 0–1 */
  readonly announced: Float64Array;
  /** 1 while an event is on, else 0 */
  readonly ongoing: Uint8Array;
}

/**
 * What is remembered about groups of rows: decayed counts, how busy each hour of the week is, and what announced
 * events did. Accesses during an event count for the event and not for the phase, so that a sale does not become a
 * season.
 */
export class GroupBook {
  readonly #spec: FeatureSpec;
  readonly #calendar: Calendar;
  readonly #bank: DecayBank;
  /** the level that phases and events bend: a week's memory at least, so that it has no season itself */
  readonly #levelHalfLife: number;
  readonly #slots = new Map<string, number>();
  readonly #names: string[] = [];
  #counters = new Float64Array(0);
  #organic = new Float64Array(0);
  #lastAt = new Float64Array(0);
  #totals = new Float64Array(0);
  #hours = new Float32Array(0);
  /** accesses during each event of the calendar, all groups that it concerns together */
  readonly #during: Float64Array;

  constructor(spec: FeatureSpec, events: readonly CalendarEvent[]) {
    this.#spec = spec;
    this.#calendar = new Calendar(events);
    this.#during = new Float64Array(events.length);
    this.#bank = new DecayBank(spec.accessHalfLives.map((h) => h * spec.horizonSeconds));
    this.#levelHalfLife = Math.max(seasonSeconds.week, 8 * spec.horizonSeconds);
    this.slot('');
  }

  get size(): number {
    return this.#names.length;
  }

  /** The number of a group, given at first sight; 0 is that of rows without one. */
  slot(group: string): number {
    let slot = this.#slots.get(group);
    if (slot === undefined && this.#names.length >= MOST_GROUPS) slot = 0;
    if (slot === undefined) {
      slot = this.#names.push(group) - 1;
      this.#slots.set(group, slot);
      if (slot === this.#totals.length) this.#grow(Math.max(16, slot * 2));
    }
    return slot;
  }

  /** The number of a group that has been seen. */
  find(group: string): number | undefined {
    return this.#slots.get(group);
  }

  observe(slot: number, at: number, weight: number): void {
    const stride = this.#bank.rates.length;
    const first = slot * stride;
    const dt = this.#totals[slot] === 0 ? 0 : at - this.#lastAt[slot]!;
    const event = this.#calendar.at(this.#names[slot]!, at);
    const organic = event < 0 ? weight : 0;
    const level = Math.exp((-Math.LN2 * Math.abs(dt)) / this.#levelHalfLife);
    const factors = this.#bank.decay(Math.abs(dt));
    if (dt >= 0) {
      for (let i = 0; i < stride; i++) {
        this.#counters[first + i] = this.#counters[first + i]! * factors[i]! + weight;
      }
      this.#organic[slot] = this.#organic[slot]! * level + organic;
      this.#lastAt[slot] = at;
    } else {
      for (let i = 0; i < stride; i++) this.#counters[first + i]! += weight * factors[i]!;
      this.#organic[slot]! += organic * level;
    }
    this.#totals[slot]! += weight;
    if (event >= 0) this.#during[event]! += weight;
    else this.#hours[slot * HOURS_OF_WEEK + hourOfWeek(at)]! += weight;
  }

  /** Decayed accesses at one half-life of the spec, one a group. */
  decayed(now: number, halfLife: number): Float64Array {
    const stride = this.#bank.rates.length;
    const rate = this.#bank.rates[halfLife]!;
    return Float64Array.from({ length: this.size }, (_, slot) => {
      const dt = Math.max(0, now - this.#lastAt[slot]!);
      return this.#counters[slot * stride + halfLife]! * Math.exp(-dt * rate);
    });
  }

  /** @param startedAt time of the first access of all, seconds */
  forecast(now: number, startedAt: number): GroupForecast {
    const { horizonSeconds } = this.#spec;
    const until = now + horizonSeconds;
    const exposed = hoursExposed(startedAt, now);
    const factor = horizonFactor(horizonSeconds, this.#levelHalfLife, now - startedAt);
    const phases = Array.from({ length: this.size }, (_, slot) =>
      this.#phases(slot, exposed, startedAt, now),
    );
    const levels = Float64Array.from({ length: this.size }, (_, slot) => {
      const dt = Math.max(0, now - this.#lastAt[slot]!);
      return this.#organic[slot]! * Math.exp((-Math.LN2 * dt) / this.#levelHalfLife) * factor;
    });
    const organic = (slot: number, from: number, to: number) =>
      levels[slot]! * phaseOver(phases[slot]!, from, to, horizonSeconds);
    const extras = this.#extras(now, startedAt, organic);
    const accesses = new Float64Array(this.size);
    const phase = new Float64Array(this.size);
    const outlook = new Float64Array(this.size);
    const announced = new Float64Array(this.size);
    const ongoing = new Uint8Array(this.size);
    for (let slot = 0; slot < this.size; slot++) {
      const usual = organic(slot, now, until);
      phase[slot] = Math.log(phaseOver(phases[slot]!, now, until, horizonSeconds));
      let expected = usual;
      for (const i of this.#calendar.of(this.#names[slot]!)) {
        const event = this.#calendar.events[i]!;
        const shared = overlap(now, until, event.start, event.end);
        if (shared === 0) continue;
        const within = organic(slot, Math.max(now, event.start), Math.min(until, event.end));
        expected += within * Math.max(0, extras.get(event.kind)! * event.weight);
        announced[slot] = Math.min(1, announced[slot]! + shared / horizonSeconds);
        if (event.start <= now) ongoing[slot] = 1;
      }
      accesses[slot] = expected;
      outlook[slot] = levels[slot]! > 0 ? expected / levels[slot]! : Math.exp(phase[slot]!);
    }
    return { accesses, phase, outlook, announced, ongoing };
  }

  /** Accesses in each hour of the week over those of an average hour, one group's; shrunk to the day, and to 1. */
  #phases(slot: number, exposed: Float64Array, startedAt: number, now: number): Float64Array {
    const own = this.#hours.subarray(slot * HOURS_OF_WEEK, (slot + 1) * HOURS_OF_WEEK);
    const seen = Float64Array.from(exposed);
    for (const i of this.#calendar.of(this.#names[slot]!)) {
      const { start, end } = this.#calendar.events[i]!;
      eachHour(Math.max(start, startedAt), Math.min(end, now), (hour, seconds) => {
        seen[hour] = Math.max(0, seen[hour]! - seconds);
      });
    }
    const phases = new Float64Array(HOURS_OF_WEEK).fill(1);
    let count = 0;
    let exposure = 0;
    for (let hour = 0; hour < HOURS_OF_WEEK; hour++) {
      count += own[hour]!;
      exposure += seen[hour]!;
    }
    if (count === 0 || exposure === 0 || this.#spec.seasons.length === 0) return phases;
    const mean = count / exposure;
    const days = new Float64Array(HOURS_OF_DAY);
    for (let hour = 0; hour < HOURS_OF_DAY; hour++) {
      let c = 0;
      let e = 0;
      for (let h = hour; h < HOURS_OF_WEEK; h += HOURS_OF_DAY) {
        c += own[h]!;
        e += seen[h]!;
      }
      days[hour] = this.#spec.seasons.includes('day')
        ? (c + PRIOR_ACCESSES) / (e * mean + PRIOR_ACCESSES)
        : 1;
    }
    for (let hour = 0; hour < HOURS_OF_WEEK; hour++) {
      const day = days[hour % HOURS_OF_DAY]!;
      phases[hour] = (own[hour]! + PRIOR_ACCESSES * day) / (seen[hour]! * mean + PRIOR_ACCESSES);
    }
    return phases;
  }

  /**
   * By kind of event: what past ones, as far as they are past, brought on top of the usual, over the usual, for each unit
   * of weight.
   */
  #extras(
    now: number,
    startedAt: number,
    organic: (slot: number, from: number, to: number) => number,
  ): Map<string, number> {
    const { events } = this.#calendar;
    const usual = new Float64Array(events.length);
    this.#names.forEach((name, slot) => {
      for (const i of this.#calendar.of(name)) {
        const from = Math.max(startedAt, events[i]!.start);
        const to = Math.min(now, events[i]!.end);
        if (to > from) usual[i]! += organic(slot, from, to);
      }
    });
    const sums = new Map<string, { extra: number; usual: number }>();
    events.forEach(({ kind, weight }, i) => {
      const sum = sums.get(kind) ?? { extra: PRIOR_ACCESSES * (PRIOR_LIFT - 1), usual: PRIOR_ACCESSES };
      sums.set(kind, {
        extra: sum.extra + this.#during[i]! - usual[i]!,
        usual: sum.usual + usual[i]! * weight,
      });
    });
    return new Map([...sums].map(([kind, sum]) => [kind, sum.extra / sum.usual]));
  }

  /** All that is remembered, copied. */
  snapshot(): GroupsSnapshot {
    return {
      names: this.#names.slice(),
      counters: this.#counters.slice(0, this.size * this.#bank.rates.length),
      organic: this.#organic.slice(0, this.size),
      lastAt: this.#lastAt.slice(0, this.size),
      totals: this.#totals.slice(0, this.size),
      hours: this.#hours.slice(0, this.size * HOURS_OF_WEEK),
      during: this.#calendar.events.map((event, i) => ({ event, accesses: this.#during[i]! })),
    };
  }

  /**
   * Puts a snapshot into a book that is still empty. Events are known by their span, group and kind: those that the
   * calendar does not have any more are forgotten.
   * @throws ForeshadowError SNAPSHOT_REFUSED when its parts do not fit together
   */
  restore({ names, counters, organic, lastAt, totals, hours, during }: GroupsSnapshot): void {
    const size = names.length;
    const fits =
      names[0] === '' &&
      new Set(names).size === size &&
      counters.length === size * this.#bank.rates.length &&
      [organic, lastAt, totals].every(({ length }) => length === size) &&
      hours.length === size * HOURS_OF_WEEK;
    if (!fits) throw refused('what it knows about groups does not fit together');
    for (const name of names) this.slot(name);
    this.#counters.set(counters);
    this.#organic.set(organic);
    this.#lastAt.set(lastAt);
    this.#totals.set(totals);
    this.#hours.set(hours);
    const known = new Map<string, number[]>();
    const nameOf = ({ start, end, group, kind }: CalendarEvent) => JSON.stringify([start, end, group, kind]);
    for (const { event, accesses } of during) {
      const name = nameOf(event);
      known.set(name, [...(known.get(name) ?? []), accesses]);
    }
    this.#calendar.events.forEach((event, i) => {
      this.#during[i] = known.get(nameOf(event))?.shift() ?? 0;
    });
  }

  #grow(capacity: number): void {
    const grown = (old: Float64Array, length: number) => {
      const larger = new Float64Array(length);
      larger.set(old);
      return larger;
    };
    this.#counters = grown(this.#counters, capacity * this.#bank.rates.length);
    this.#organic = grown(this.#organic, capacity);
    this.#lastAt = grown(this.#lastAt, capacity);
    this.#totals = grown(this.#totals, capacity);
    const hours = new Float32Array(capacity * HOURS_OF_WEEK);
    hours.set(this.#hours);
    this.#hours = hours;
  }
}

/** Accesses of [from, to) over those of an average span of `unit` seconds. */
function phaseOver(phases: Float64Array, from: number, to: number, unit: number): number {
  let sum = 0;
  // beyond a week all phases are in, in equal parts
  const weeks = Math.floor((to - from) / seasonSeconds.week);
  if (weeks > 0) sum += weeks * phases.reduce((a, b) => a + b, 0) * 3600;
  eachHour(from + weeks * seasonSeconds.week, to, (hour, seconds) => {
    sum += phases[hour]! * seconds;
  });
  return sum / unit;
}
