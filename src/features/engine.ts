import type { CalendarEvent } from '../calendar/index.ts';
import type { Access } from '../core/access.ts';
import type { KeyId } from '../core/key.ts';
import { DecayBank, horizonFactor } from './decay.ts';
import { GroupBook } from './groups.ts';
import { hourOfWeek, rowPhase } from './phase.ts';
import { FIRST_SEEN, grown, LAST_ACCESS, LAST_CHANGE, type RowState, rowState } from './rows.ts';
import { type EngineSnapshot, refused } from './snapshot.ts';
import { type FeatureSpec, featureSpecHash } from './spec.ts';
import { type Moment, VectorWriter } from './vectors.ts';

const FIRST_ROWS = 1024;

export interface EngineOptions {
  /** the group of a key, asked once, at first sight; null: none. Only a grouped spec has any */
  readonly groupOf?: (key: KeyId) => string | null;
  /** announced events, past and future */
  readonly events?: readonly CalendarEvent[];
}

/** The engine at one time, groups and seasons worked out. */
interface View {
  readonly moment: Moment;
  readonly writer: VectorWriter;
  /** one a group; null without groups */
  readonly outlook: Float64Array | null;
  /** how much had been observed */
  readonly seen: number;
}

/**
 * What is remembered about every key that was ever seen, in typed arrays by slot. A slot is a key's number, in order
 * of first sight. The same engine serves training and scoring, so the two cannot differ.
 *
 * An event costs O(1): counters are decayed only when their key is touched or read. A late event is added with the
 * decay that it has by now. Events of one key at one time commute up to rounding (exactly, when their weights are
 * equal); training sorts by {@link compareAccesses} first, which makes it exact.
 */
export class FeatureEngine {
  readonly spec: FeatureSpec;
  readonly #bank: DecayBank;
  readonly #stride: number;
  readonly #slots = new Map<KeyId, number>();
  readonly #keys: KeyId[] = [];
  readonly #groups: GroupBook;
  readonly #groupOf: (key: KeyId) => string | null;
  #startedAt = Number.POSITIVE_INFINITY;
  #rows: RowState;
  #writer: View | null = null;
  #seen = 0;

  constructor(spec: FeatureSpec, options: EngineOptions = {}) {
    this.spec = spec;
    const halfLives = [...spec.accessHalfLives, ...spec.changeHalfLives];
    this.#bank = new DecayBank(halfLives.map((halfLife) => halfLife * spec.horizonSeconds));
    this.#stride = halfLives.length;
    this.#rows = rowState(spec, FIRST_ROWS);
    this.#groups = new GroupBook(spec, spec.grouped ? (options.events ?? []) : []);
    this.#groupOf = (spec.grouped && options.groupOf) || (() => null);
  }

  /**
   * An engine that goes on where another one was.
   * @param options as that engine had; events that it did not have count as not yet seen
   * @throws ForeshadowError SNAPSHOT_REFUSED when the snapshot is of another spec, or its parts do not fit together
   */
  static restore(spec: FeatureSpec, snapshot: EngineSnapshot, options: EngineOptions = {}): FeatureEngine {
    if (snapshot.specHash !== featureSpecHash(spec))
      throw refused('it was made with other features than these');
    const { keys, rows } = snapshot;
    const engine = new FeatureEngine(spec, options);
    const { stride64 } = engine.#rows.layout;
    if (rows.length !== keys.length * stride64) throw refused('it does not have one row a key');
    engine.#groups.restore(snapshot.groups);
    engine.#startedAt = snapshot.startedAt;
    engine.#rows = rowState(spec, Math.max(FIRST_ROWS, keys.length));
    engine.#rows.f64.set(rows);
    for (const key of keys) engine.#slots.set(key, engine.#keys.push(key) - 1);
    if (engine.#slots.size !== keys.length) throw refused('it has a key twice');
    return engine;
  }

  /** All that is remembered, copied. */
  snapshot(): EngineSnapshot {
    return {
      specHash: featureSpecHash(this.spec),
      startedAt: this.#startedAt,
      keys: this.#keys.slice(),
      rows: this.#rows.f64.slice(0, this.size * this.#rows.layout.stride64),
      groups: this.#groups.snapshot(),
    };
  }

  /** how many keys were seen */
  get size(): number {
    return this.#keys.length;
  }

  /** time of the earliest event, seconds; Infinity before the first */
  get startedAt(): number {
    return this.#startedAt;
  }

  /** keys by slot; do not change it */
  keys(): readonly KeyId[] {
    return this.#keys;
  }

  slotOf(key: KeyId): number | undefined {
    return this.#slots.get(key);
  }

  observe(access: Access): void {
    const { at, op } = access;
    const weight = access.weight ?? 1;
    const slot = this.#slots.get(access.key) ?? this.#add(access.key, at);
    const { layout, f64, f32, i32, u16 } = this.#rows;
    const times = slot * layout.stride64;
    const row32 = slot * layout.stride32;
    const first = row32 + layout.counters;
    const counted = op === 'W' ? this.#stride : this.spec.accessHalfLives.length;
    const dt = at - f64[times + LAST_ACCESS]!;
    if (dt === 0) {
      for (let i = 0; i < counted; i++) f32[first + i]! += weight;
    } else if (dt > 0) {
      const factors = this.#bank.decay(dt);
      for (let i = 0; i < this.#stride; i++) {
        f32[first + i] = f32[first + i]! * factors[i]! + (i < counted ? weight : 0);
      }
      f64[times + LAST_ACCESS] = at;
    } else {
      const factors = this.#bank.decay(-dt);
      for (let i = 0; i < counted; i++) f32[first + i]! += weight * factors[i]!;
      if (at < f64[times + FIRST_SEEN]!) f64[times + FIRST_SEEN] = at;
    }
    f32[row32 + layout.total]! += weight;
    if (op === 'W') {
      f32[row32 + layout.changes]! += weight;
      if (at > f64[times + LAST_CHANGE]!) f64[times + LAST_CHANGE] = at;
    }
    const hour = hourOfWeek(at);
    for (let i = 0; i < layout.phases.length; i++) {
      const phase = rowPhase(this.spec.seasons[i]!, hour);
      const place = slot * layout.stride16 + layout.phases[i]! + phase;
      u16[place] = Math.min(65_535, u16[place]! + Math.round(weight));
    }
    if (this.spec.grouped) this.#groups.observe(i32[row32 + layout.group]!, at, weight);
    if (at < this.#startedAt) this.#startedAt = at;
    this.#seen += 1;
  }

  observeAll(accesses: Iterable<Access>): void {
    for (const access of accesses) this.observe(access);
  }

  /**
   * Decayed access counts at one half-life of the spec, of all slots or of the slots given. An event after `now` counts
   * as if it were at `now`.
   */
  ewma(now: number, halfLife: number, slots?: ArrayLike<number>): Float64Array {
    return this.#decayed(now, index(halfLife, this.spec.accessHalfLives.length, 0), slots);
  }

  /** Decayed change counts at one change half-life of the spec, of all slots or of the slots given. */
  changeEwma(now: number, halfLife: number, slots?: ArrayLike<number>): Float64Array {
    const { accessHalfLives, changeHalfLives } = this.spec;
    return this.#decayed(now, index(halfLife, changeHalfLives.length, accessHalfLives.length), slots);
  }

  /**
   * Accesses to expect in [now, now + H): the row's share of its group, at one half-life of the spec, of what the
   * group's phase, level and announced events let expect. Without groups it is the EWMA.
   */
  groupShare(now: number, halfLife: number, slots?: ArrayLike<number>): Float64Array {
    const counts = this.ewma(now, halfLife, slots);
    const factors = this.moment(now).groupFactors[halfLife]!;
    const { layout, i32 } = this.#rows;
    for (let i = 0; i < counts.length; i++) {
      counts[i]! *= factors[i32[(slots ? slots[i]! : i) * layout.stride32 + layout.group]!]!;
    }
    return counts;
  }

  /** All accesses ever, of all slots or of the slots given. */
  lfu(slots?: ArrayLike<number>): Float64Array {
    return this.#totals(this.#rows.layout.total, slots);
  }

  /** All changes ever, of all slots or of the slots given. */
  changeTotals(slots?: ArrayLike<number>): Float64Array {
    return this.#totals(this.#rows.layout.changes, slots);
  }

  /** Time of the latest access, by slot, seconds. */
  lastAccess(): Float64Array {
    return this.#times(LAST_ACCESS);
  }

  /** Time of the latest change, by slot, seconds; −Infinity where there was none. */
  lastChange(): Float64Array {
    return this.#times(LAST_CHANGE);
  }

  /** Time of the first access, by slot, seconds. */
  firstSeen(): Float64Array {
    return this.#times(FIRST_SEEN);
  }

  /** All that vectors at `now` need; sees what is observed later only where rows are concerned. */
  moment(now: number): Moment {
    return this.#view(now).moment;
  }

  /** Feature vectors, one row a slot (all slots when none are given), row-major: rows × spec.columns. */
  matrix(now: number, slots?: ArrayLike<number>): Float32Array {
    if (!slots) return this.matrixRange(now, 0, this.size);
    const { writer } = this.#view(now);
    const out = new Float32Array(slots.length * this.spec.columns.length);
    for (let row = 0; row < slots.length; row++) writer.write(slots[row]!, out, row);
    return out;
  }

  /** Feature vectors of the slots from `from` up to, not including, `to`. */
  matrixRange(now: number, from: number, to: number): Float32Array {
    const { writer } = this.#view(now);
    const out = new Float32Array((to - from) * this.spec.columns.length);
    for (let slot = from; slot < to; slot++) writer.write(slot, out, slot - from);
    return out;
  }

  /**
   * What a group (null: none) has before it: accesses expected in [now, now + H), over those of an average horizon. Rows
   * that were never seen have no more to tell of themselves than this. 1 for a group that was never seen either.
   */
  outlook(now: number, group: string | null): number {
    const slot = this.#groups.find(group ?? '');
    return (slot !== undefined && this.#view(now).outlook?.[slot]) || 1;
  }

  /** Working out groups and seasons takes a while: it is done once for as long as nothing is observed. */
  #view(now: number): View {
    if (this.#writer?.seen === this.#seen && this.#writer.moment.now === now) return this.#writer;
    const { spec } = this;
    const { outlook, ...groups } = this.#groupsAt(now);
    const moment = {
      spec,
      now,
      startedAt: this.#startedAt,
      size: this.size,
      rows: this.#rows,
      ...groups,
    };
    this.#writer = { moment, writer: new VectorWriter(moment), outlook, seen: this.#seen };
    return this.#writer;
  }

  #groupsAt(now: number): Pick<Moment, 'groupFactors' | 'groupColumns'> & Pick<View, 'outlook'> {
    const { spec } = this;
    const { horizonSeconds, accessHalfLives } = spec;
    const exposure = now - this.#startedAt;
    const factorOf = (halfLife: number) => horizonFactor(horizonSeconds, halfLife * horizonSeconds, exposure);
    if (!spec.grouped) {
      const groupFactors = accessHalfLives.map((halfLife) => Float64Array.of(factorOf(halfLife)));
      return { groupFactors, groupColumns: new Float32Array(0), outlook: null };
    }
    const forecast = this.#groups.forecast(now, this.#startedAt);
    const groupFactors = accessHalfLives.map((_, i) =>
      this.#groups.decayed(now, i).map((count, group) => (count > 0 ? forecast.accesses[group]! / count : 0)),
    );
    const recent = accessHalfLives.indexOf(1 / 2);
    const lately = this.#groups.decayed(now, recent).map((count) => count * factorOf(1 / 2));
    const groupColumns = new Float32Array(this.#groups.size * 5);
    for (let group = 0; group < this.#groups.size; group++) {
      groupColumns.set(
        [
          Math.log(1 + forecast.accesses[group]!),
          Math.log(1 + lately[group]!),
          forecast.phase[group]!,
          forecast.announced[group]!,
          forecast.ongoing[group]!,
        ],
        group * 5,
      );
    }
    return { groupFactors, groupColumns, outlook: forecast.outlook };
  }

  #decayed(now: number, counter: number, slots?: ArrayLike<number>): Float64Array {
    const { layout, f32, f64 } = this.#rows;
    const out = new Float64Array(slots?.length ?? this.size);
    for (let i = 0; i < out.length; i++) {
      const slot = slots ? slots[i]! : i;
      const dt = Math.max(0, now - f64[slot * layout.stride64 + LAST_ACCESS]!);
      out[i] = f32[slot * layout.stride32 + layout.counters + counter]! * this.#bank.factor(dt, counter);
    }
    return out;
  }

  #totals(position: number, slots?: ArrayLike<number>): Float64Array {
    const { layout, f32 } = this.#rows;
    const out = new Float64Array(slots?.length ?? this.size);
    for (let i = 0; i < out.length; i++) {
      out[i] = f32[(slots ? slots[i]! : i) * layout.stride32 + position]!;
    }
    return out;
  }

  #times(position: number): Float64Array {
    const { layout, f64 } = this.#rows;
    return Float64Array.from({ length: this.size }, (_, slot) => f64[slot * layout.stride64 + position]!);
  }

  #add(key: KeyId, at: number): number {
    const slot = this.#keys.push(key) - 1;
    this.#slots.set(key, slot);
    if ((slot + 1) * this.#rows.layout.stride64 > this.#rows.f64.length) this.#rows = grown(this.#rows);
    const { layout, f64, i32 } = this.#rows;
    const times = slot * layout.stride64;
    f64[times + LAST_ACCESS] = at;
    f64[times + LAST_CHANGE] = Number.NEGATIVE_INFINITY;
    f64[times + FIRST_SEEN] = at;
    i32[slot * layout.stride32 + layout.group] = this.#groups.slot(this.#groupOf(key) ?? '');
    return slot;
  }
}

function index(halfLife: number, count: number, offset: number): number {
  if (!Number.isInteger(halfLife) || halfLife < 0 || halfLife >= count) {
    throw new RangeError(`half-life index ${halfLife} is not in 0..${count - 1}`);
  }
  return offset + halfLife;
}
