import type { Access } from '../core/access.ts';
import { keyId } from '../core/key.ts';
import type { Canonical } from './canonical.ts';
import type { Expression } from './expression.ts';
import { decodeLiteral, parseArrayText } from './literal.ts';
import type { StatementPlan, Step } from './plan.ts';
import type { Binding, Conjunction } from './points.ts';
import { type Reason, reasons } from './reason.ts';
import type { Scan, Value } from './shape.ts';

// one statement that names more keys than this is a batch job, and no sign of what is needed next
const maxKeys = 50_000;
// two conditions on the same column are compared value by value: about 10 ms
const maxPairs = 1_000_000;

/** A key in the making: null where nothing is known yet. */
type PartialKey = readonly (string | null)[];

/** Fills a plan with the values of one execution. Holds the first reason it met. */
export class Evaluation {
  reason: Reason | undefined;
  private readonly scan: Scan;
  private readonly params: readonly (string | null)[] | null;
  private readonly canonical: readonly Canonical[];

  constructor(scan: Scan, params: readonly (string | null)[] | null, canonical: readonly Canonical[]) {
    this.scan = scan;
    this.params = params;
    this.canonical = canonical;
  }

  /** The accesses of one statement, each row and operation once. */
  run(plan: StatementPlan, at: number): Access[] {
    this.reason ??= plan.reasons[0];
    const accesses: Access[] = [];
    for (const step of plan.steps)
      for (const key of this.stepKeys(step)) accesses.push({ key, op: step.op, at });
    if (accesses.length < 2) return accesses;
    const seen = new Set<string>();
    return accesses.filter(({ op, key }) => seen.size < seen.add(op + key).size);
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
    return keys;
  }

  /** Joins the bindings: a column that two of them name must have the same value in both. */
  private conjunctionKeys(conjunction: Conjunction): string[][] {
    let keys: PartialKey[] = [this.canonical.map(() => null)];
    for (const binding of conjunction) {
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
    return keys as string[][];
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
        const value = typeof text === 'string' ? this.canon(binding.columns[k] as number, text) : text;
        if (typeof value === 'string') row.push(value);
      }
      if (row.length === binding.row.length) rows.push(row);
    }
    return rows;
  }

  private arrayRows(binding: Binding): string[][] {
    const text = this.text(binding.row[0] as Expression, 0);
    if (typeof text !== 'string') return [];
    const elements = parseArrayText(text);
    if (!elements) {
      this.fail(reasons.badValue);
      return [];
    }
    const rows: string[][] = [];
    for (const element of elements) {
      const value = element === null ? undefined : this.canon(binding.columns[0] as number, element);
      if (value !== undefined) rows.push([value]);
    }
    return rows;
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
    const text = this.params?.[Number(this.scan.sql.slice(value.start + 1, value.end)) - 1];
    if (text === undefined) return this.fail(reasons.noParameters);
    // the server cuts a long value and says so only by these dots; a key that really ends in them is not worth a wrong one
    if (text?.endsWith('...')) return this.fail(reasons.cutParameter);
    return text;
  }

  private fail(reason: Reason): undefined {
    this.reason ??= reason;
    return undefined;
  }
}
