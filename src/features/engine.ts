import type { Access } from '../core/access.ts';
import type { KeyId } from '../core/key.ts';
import { horizonFactor } from './decay.ts';
import type { FeatureSpec } from './spec.ts';

/** Times since an event are capped here, in horizons; "never" has this value too. */
const LONGEST = 1024;
/** Several times faster than Math.log1p; what it loses below 1e-16 a feature of 32 bits cannot tell from zero. */
const log1p = (x: number) => Math.log(1 + x);

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
  /** ln 2 / half-life for each counter, accesses first, per second */
  readonly #rates: Float64Array;
  readonly #stride: number;
  readonly #slots = new Map<KeyId, number>();
  readonly #keys: KeyId[] = [];
  #startedAt = Number.POSITIVE_INFINITY;
  // One row of counters a slot: an event touches two cache lines, where a column a counter would touch thirteen.
  #counters: Float64Array;
  /** also the time to which the counters are decayed: a change is an access too */
  #lastAccess = new Float64Array(1024);
  #lastChange = new Float64Array(1024);
  #firstSeen = new Float64Array(1024);
  #total = new Float64Array(1024);
  #changes = new Float64Array(1024);

  constructor(spec: FeatureSpec) {
    this.spec = spec;
    this.#rates = Float64Array.from(
      [...spec.accessHalfLives, ...spec.changeHalfLives],
      (halfLife) => Math.LN2 / (halfLife * spec.horizonSeconds),
    );
    this.#stride = this.#rates.length;
    this.#counters = new Float64Array(1024 * this.#stride);
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
    let slot = this.#slots.get(access.key);
    if (slot === undefined) slot = this.#add(access.key, at);
    const rates = this.#rates;
    const counters = this.#counters;
    const first = slot * this.#stride;
    const accesses = this.spec.accessHalfLives.length;
    const counted = op === 'W' ? this.#stride : accesses;
    const dt = at - this.#lastAccess[slot]!;
    if (dt > 0) {
      for (let i = 0; i < this.#stride; i++) counters[first + i]! *= Math.exp(-dt * rates[i]!);
      for (let i = 0; i < counted; i++) counters[first + i]! += weight;
      this.#lastAccess[slot] = at;
    } else {
      for (let i = 0; i < counted; i++)
        counters[first + i]! += dt === 0 ? weight : weight * Math.exp(dt * rates[i]!);
      if (at < this.#firstSeen[slot]!) this.#firstSeen[slot] = at;
    }
    this.#total[slot]! += weight;
    if (op === 'W') {
      this.#changes[slot]! += weight;
      if (at > this.#lastChange[slot]!) this.#lastChange[slot] = at;
    }
    if (at < this.#startedAt) this.#startedAt = at;
  }

  observeAll(accesses: Iterable<Access>): void {
    for (const access of accesses) this.observe(access);
  }

  /**
   * Decayed access counts at one half-life of the spec, of all slots or of the slots given. An event after `now` counts
   * as if it were at `now`.
   */
  ewma(now: number, halfLife: number, slots?: ArrayLike<number>): Float64Array {
    return this.#decayed(now, this.#index(halfLife, this.spec.accessHalfLives.length, 0), slots);
  }

  /** Decayed change counts at one change half-life of the spec, of all slots or of the slots given. */
  changeEwma(now: number, halfLife: number, slots?: ArrayLike<number>): Float64Array {
    const { accessHalfLives, changeHalfLives } = this.spec;
    return this.#decayed(now, this.#index(halfLife, changeHalfLives.length, accessHalfLives.length), slots);
  }

  /** All accesses ever, of all slots or of the slots given. */
  lfu(slots?: ArrayLike<number>): Float64Array {
    return slots ? this.#at(this.#total, slots) : this.#total.slice(0, this.size);
  }

  /** All changes ever, of all slots or of the slots given. */
  changeTotals(slots?: ArrayLike<number>): Float64Array {
    return slots ? this.#at(this.#changes, slots) : this.#changes.slice(0, this.size);
  }

  /** Time of the latest access, by slot, seconds. */
  lastAccess(): Float64Array {
    return this.#lastAccess.slice(0, this.size);
  }

  /** Time of the latest change, by slot, seconds; −Infinity where there was none. */
  lastChange(): Float64Array {
    return this.#lastChange.slice(0, this.size);
  }

  /** Time of the first access, by slot, seconds. */
  firstSeen(): Float64Array {
    return this.#firstSeen.slice(0, this.size);
  }

  /** Feature vectors, one row a slot (all slots when none are given), row-major: rows × spec.columns. */
  matrix(now: number, slots?: ArrayLike<number>): Float32Array {
    if (!slots) return this.matrixRange(now, 0, this.size);
    const factors = this.#factors(now);
    const out = new Float32Array(slots.length * this.spec.columns.length);
    for (let row = 0; row < slots.length; row++) this.#row(now, slots[row]!, factors, out, row);
    return out;
  }

  /** Feature vectors of the slots from `from` up to, not including, `to`. */
  matrixRange(now: number, from: number, to: number): Float32Array {
    const factors = this.#factors(now);
    const out = new Float32Array((to - from) * this.spec.columns.length);
    for (let slot = from; slot < to; slot++) this.#row(now, slot, factors, out, slot - from);
    return out;
  }

  /** The vector of every key that was never seen: all counters zero, every time "never". */
  prototype(): Float32Array {
    const out = new Float32Array(this.spec.columns.length);
    out.fill(log1p(64 * LONGEST), this.#stride, this.#stride + 3);
    return out;
  }

  #index(halfLife: number, count: number, offset: number): number {
    if (!Number.isInteger(halfLife) || halfLife < 0 || halfLife >= count) {
      throw new RangeError(`half-life index ${halfLife} is not in 0..${count - 1}`);
    }
    return offset + halfLife;
  }

  #decayed(now: number, counter: number, slots?: ArrayLike<number>): Float64Array {
    const out = new Float64Array(slots?.length ?? this.size);
    const rate = this.#rates[counter]!;
    for (let i = 0; i < out.length; i++) {
      const slot = slots ? slots[i]! : i;
      const dt = Math.max(0, now - this.#lastAccess[slot]!);
      out[i] = this.#counters[slot * this.#stride + counter]! * Math.exp(-dt * rate);
    }
    return out;
  }

  #at(values: Float64Array, slots: ArrayLike<number>): Float64Array {
    return Float64Array.from(slots, (slot) => values[slot]!);
  }

  #factors(now: number): Float64Array {
    const exposure = now - this.#startedAt;
    return this.#rates.map((rate) => horizonFactor(this.spec.horizonSeconds, Math.LN2 / rate, exposure));
  }

  #row(now: number, slot: number, factors: Float64Array, out: Float32Array, row: number): void {
    const horizon = this.spec.horizonSeconds;
    const stride = this.#stride;
    const rates = this.#rates;
    const counters = this.#counters;
    const to = row * this.spec.columns.length;
    const dt = Math.max(0, now - this.#lastAccess[slot]!);
    for (let i = 0; i < stride; i++) {
      const count = counters[slot * stride + i]!;
      out[to + i] = count === 0 ? 0 : log1p(count * Math.exp(-dt * rates[i]!) * factors[i]!);
    }
    const since = (time: number) => log1p(64 * Math.min(LONGEST, Math.max(0, now - time) / horizon));
    const total = this.#total[slot]!;
    const exposure = Math.max(now - this.#startedAt, horizon / 64);
    out[to + stride] = since(this.#lastAccess[slot]!);
    out[to + stride + 1] = since(this.#lastChange[slot]!);
    out[to + stride + 2] = since(this.#firstSeen[slot]!);
    out[to + stride + 3] = log1p((total * horizon) / exposure);
    out[to + stride + 4] = total > 0 ? this.#changes[slot]! / total : 0;
  }

  #add(key: KeyId, at: number): number {
    const slot = this.#keys.push(key) - 1;
    this.#slots.set(key, slot);
    if (slot === this.#total.length) this.#grow(slot * 2);
    this.#lastAccess[slot] = at;
    this.#lastChange[slot] = Number.NEGATIVE_INFINITY;
    this.#firstSeen[slot] = at;
    return slot;
  }

  #grow(capacity: number): void {
    const grown = (old: Float64Array, length: number) => {
      const larger = new Float64Array(length);
      larger.set(old);
      return larger;
    };
    this.#counters = grown(this.#counters, capacity * this.#stride);
    this.#lastAccess = grown(this.#lastAccess, capacity);
    this.#lastChange = grown(this.#lastChange, capacity);
    this.#firstSeen = grown(this.#firstSeen, capacity);
    this.#total = grown(this.#total, capacity);
    this.#changes = grown(this.#changes, capacity);
  }
}
