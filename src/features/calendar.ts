import type { CalendarEvent } from '../calendar/index.ts';

/** Announced events by group, in order of their start. */
export class Calendar {
  readonly events: readonly CalendarEvent[];
  readonly #ofAll: number[] = [];
  readonly #byGroup = new Map<string, number[]>();

  constructor(events: readonly CalendarEvent[]) {
    this.events = [...events].sort((a, b) => a.start - b.start);
    const named = new Set(events.map(({ group }) => group));
    named.delete(null);
    for (const group of named) this.#byGroup.set(group as string, []);
    this.events.forEach(({ group }, i) => {
      const lists = group === null ? [this.#ofAll, ...this.#byGroup.values()] : [this.#byGroup.get(group)!];
      for (const list of lists) list.push(i);
    });
  }

  /** Events that concern a group, those that concern all included: positions in {@link events}. */
  of(group: string): readonly number[] {
    return this.#byGroup.get(group) ?? this.#ofAll;
  }

  /** The event of the group that is on at `at`: its position, or −1. */
  at(group: string, at: number): number {
    for (const i of this.of(group)) {
      const { start, end } = this.events[i]!;
      if (start > at) return -1;
      if (at < end) return i;
    }
    return -1;
  }
}

/** Seconds that two spans share. */
export const overlap = (from: number, to: number, start: number, end: number): number =>
  Math.max(0, Math.min(to, end) - Math.max(from, start));
