import type { Access, AccessOp } from '../core/access.ts';
import { keyId } from '../core/key.ts';
import type { Canonical } from './canonical.ts';
import type { Expression } from './expression.ts';
import { decodeLiteral, parseArrayText } from './literal.ts';
import type { StatementPlan, Step } from './plan.ts';
import type { Binding, Bound, Conjunction } from './points.ts';
import { type Reason, reasons } from './reason.ts';
import type { Scan, Value } from './shape.ts';

// one statement that names more keys than this is a batch job, and no sign of what is needed next
const maxKeys = 50_000;
// two conditions on the same column are compared value by value: about 10 ms
const maxPairs = 1_000_000;
// a range of integer keys is listed, key by key, up to this many: beyond it, it is a scan
const maxRange = 1000n;

/** A key in the making: null where nothing is known yet. */
type PartialKey = readonly (string | null)[];

/** Fills a plan with the values of one execution. Holds the first reason it met. */
export class Evaluation {
  reason: Reason | undefined;
  readonly lookups: { column: number; op: AccessOp; values: readonly string[] }[] = [];
  private readonly scan: Scan;
  private readonly params: readonly (string | null | undefined)[] | null;
  private readonly canonical: readonly Canonical[];
  private readonly truncated: readonly number[];
  private readonly lookupCanonical: readonly Canonical[];

  /** @param truncated positions in `params` of values that the server has cut */
  constructor(
    scan: Scan,
    params: readonly (string | null | undefined)[] | null,
    canonical: readonly Canonical[],
    truncated: readonly number[] | null = null,
    lookupCanonical: readonly Canonical[] = [],
  ) {
    this.lookupCanonical = lookupCanonical;
    this.truncated = truncated ?? [];
    this.scan = scan;
    this.params = params;
    this.canonical = canonical;
  }

  /** The accesses of one statement, each row and operation once. */
  run(plan: StatementPlan, at: number): Access[] {
    this.reason ??= plan.reasons[0];
    const accesses: Access[] = [];
    for (const step of plan.steps) {
      if (step.lookup !== undefined) this.lookUp(step, step.lookup);
      else for (const key of this.stepKeys(step)) accesses.push({ key, op: step.op, at });
    }
    if (accesses.length < 2) return accesses;
    const seen = new Set<string>();
    return accesses.filter(({ op, key }) => seen.size < seen.add(op + key).size);
  }

  /** Values of another column: the rows that have them are to be looked up. */
  private lookUp(step: Step, column: number): void {
    const values = new Evaluation(
      this.scan,
      this.params,
      [this.lookupCanonical[column] as Canonical],
      this.truncated,
    );
    // how many rows a value has is not known, so that any LIMIT may cut
    if (step.limit) this.fail(reasons.limit);
    else this.lookups.push({ column, op: step.op, values: values.stepKeys(step) });
    this.reason ??= values.reason;
  }

  /** The value of an argument of EXECUTE; undefined where it is computed. */
  argument(expression: Expression | undefined): string | null | undefined {
    return expression && this.text(expression, 0);
  }

  private stepKeys(step: Step): string[] {
    const keys: string[] = [];
    for (const conjunction of step.points) {
      for (const key of this.conjunctionKeys(conjunction)) {
        keys.push(keyId(key));
        const next = step.newKey && this.replaced(key, step.newKey);
        if (next) keys.push(keyId(next));
        if (keys.length > maxKeys) {
          this.fail(reasons.tooMany);
          return [];
        }
      }
    }
    // of several candidates a LIMIT leaves some alone, and does not say which
    if (step.limit && keys.length > 1 && !this.reaches(step.limit, new Set(keys).size)) {
      this.fail(reasons.limit);
      return [];
    }
    return keys;
  }

  /** Joins the bindings: a column that two of them name must have the same value in both. */
  private conjunctionKeys(conjunction: Conjunction): string[][] {
    let keys: PartialKey[] = [this.canonical.map(() => null)];
    for (const binding of conjunction.bindings) {
      const rows = this.rows(binding);
      if (keys.length * rows.length > maxPairs) {
        this.fail(reasons.tooMany);
        return [];
      }
      const joined: PartialKey[] = [];
      for (const key of keys) {
        for (const row of rows) {
          const next = [...key];
          const fits = binding.columns.every((column, k) => {
            if (next[column] !== null && next[column] !== row[k]) return false;
            next[column] = row[k] as string;
            return true;
          });
          if (fits) joined.push(next);
        }
      }
      keys = joined;
    }
    if (conjunction.bounds.length > 0) keys = this.bounded(keys, conjunction.bounds);
    return keys as string[][];
  }

  /** Lists the integers between the bounds where a column is open, and keeps the keys within them where it is not. */
  private bounded(given: readonly PartialKey[], bounds: readonly Bound[]): PartialKey[] {
    let keys = [...given];
    for (const column of new Set(bounds.map((bound) => bound.column))) {
      let low = -(1n << 64n);
      let high = 1n << 64n;
      for (const { operator, value } of bounds.filter((bound) => bound.column === column)) {
        const text = this.text(value, 0);
        const canonical = typeof text === 'string' ? this.canon(column, text) : undefined;
        if (canonical === undefined) return []; // NULL bounds nothing, and what is no value has given its reason
        const at = BigInt(canonical) + (operator === '>' ? 1n : operator === '<' ? -1n : 0n);
        if (operator.startsWith('>')) low = at > low ? at : low;
        else high = at < high ? at : high;
      }
      const within = (text: string) => BigInt(text) >= low && BigInt(text) <= high;
      if (keys.some((key) => key[column] === null) && (high - low + 1n) * BigInt(keys.length) > maxRange) {
        this.fail(reasons.wideRange);
        return [];
      }
      keys = keys.flatMap((key): PartialKey[] => {
        const value = key[column];
        if (typeof value === 'string') return within(value) ? [key] : [];
        const listed: PartialKey[] = [];
        for (let at = low; at <= high; at++) listed.push(key.with(column, String(at)));
        return listed;
      });
    }
    return keys;
  }

  private reaches(limit: Expression | 'computed', keys: number): boolean {
    if (limit === 'computed') return false;
    const text = this.text(limit, 0);
    return text === null || Number(text) >= keys; // LIMIT NULL is no limit
  }

  /** The rows of values of a binding; those with a NULL equal nothing and are left out. */
  private rows(binding: Binding): string[][] {
    if (binding.array) return this.arrayRows(binding);
    let count = 1;
    for (const expression of binding.row) {
      if (expression.kind === 'slot') count = Math.max(count, this.scan.slots[expression.slot]?.length ?? 1);
    }
    const rows: string[][] = [];
    for (let i = 0; i < count; i++) {
      const row: string[] = [];
      for (let k = 0; k < binding.row.length; k++) {
        const text = this.text(binding.row[k] as Expression, i);
        const value = this.valueOf(binding, k, text);
        if (typeof value === 'string') row.push(value);
      }
      if (row.length === binding.row.length) rows.push(row);
    }
    return rows;
  }

  /** Arrays are read side by side; where one is shorter, its values are NULL. */
  private arrayRows(binding: Binding): string[][] {
    const arrays: (string | null)[][] = [];
    for (const expression of binding.row) {
      const text = this.text(expression, 0);
      if (text === undefined) return [];
      const elements = text === null ? [] : parseArrayText(text);
      if (!elements) {
        this.fail(reasons.badValue);
        return [];
      }
      arrays.push(elements);
    }
    const rows: string[][] = [];
    for (let i = 0; i < (arrays[0]?.length ?? 0); i++) {
      const row: string[] = [];
      arrays.forEach((elements, k) => {
        const value = this.valueOf(binding, k, elements[i] ?? null);
        if (typeof value === 'string') row.push(value);
      });
      if (row.length === binding.row.length) rows.push(row);
    }
    return rows;
  }

  /** @returns undefined for what equals no key: NULL, no value of the type, or a text that is not the key's own */
  private valueOf(binding: Binding, k: number, text: string | null | undefined): string | undefined {
    if (typeof text !== 'string') return undefined;
    const column = binding.columns[k] as number;
    if (!binding.asText) return this.canon(column, text);
    return this.canonical[column]?.(text) === text ? text : undefined;
  }

  private replaced(
    key: readonly string[],
    newKey: readonly (Expression | undefined)[],
  ): string[] | undefined {
    const next = [...key];
    for (let k = 0; k < newKey.length; k++) {
      const expression = newKey[k];
      if (!expression) continue;
      const text = this.text(expression, 0);
      const value = typeof text === 'string' ? this.canon(k, text) : undefined;
      if (value === undefined) return undefined;
      next[k] = value;
    }
    return next;
  }

  private canon(column: number, text: string): string | undefined {
    return this.canonical[column]?.(text) ?? this.fail(reasons.badValue);
  }

  /** @returns null for NULL, undefined (and a reason) when the value cannot be told */
  private text(expression: Expression, index: number): string | null | undefined {
    if (expression.kind === 'null') return null;
    const slot = this.scan.slots[expression.slot];
    const value = slot?.[slot.length === 1 ? 0 : index];
    if (!value) return this.fail(reasons.oddLiteral);
    const text = value.kind === 'param' ? this.parameter(value) : decodeLiteral(this.scan.sql, value);
    if (typeof text !== 'string') return text === null ? null : this.fail(reasons.oddLiteral);
    if (!expression.negate) return text;
    return /^[+-]/.test(text) ? (text.startsWith('-') ? text.slice(1) : `-${text.slice(1)}`) : `-${text}`;
  }

  private parameter(value: Value): string | null | undefined {
    const place = Number(this.scan.sql.slice(value.start + 1, value.end)) - 1;
    const text = this.params?.[place];
    if (text === undefined) return this.fail(reasons.noParameters);
    return this.truncated.includes(place) ? this.fail(reasons.cutParameter) : text;
  }

  private fail(reason: Reason): undefined {
    this.reason ??= reason;
    return undefined;
  }
}
