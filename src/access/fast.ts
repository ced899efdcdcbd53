import type { AccessOp } from '../core/access.ts';
import type { Canonical } from './canonical.ts';
import type { Command } from './command.ts';
import type { StatementPlan } from './plan.ts';
import type { Scan, Value, ValueKind } from './shape.ts';

/**
 * The short way for what most statements of a log are: one use of the table, by one value of a key of one column. It
 * answers undefined wherever there is a question, and the whole evaluation then finds the key or the reason.
 */
export interface FastPlan {
  readonly op: AccessOp;
  /** where the key's value stands */
  readonly slot: number;
}

/** @returns `other` when the statements touch nothing of ours; null when there is no short way */
export function fastPlan(
  items: readonly (StatementPlan | Command)[],
  keyColumns: number,
): FastPlan | 'other' | null {
  if (items.some((item) => 'kind' in item)) return null;
  const plans = (items as readonly StatementPlan[]).filter(
    ({ steps, reasons }) => steps.length > 0 || reasons.length > 0,
  );
  if (plans.length === 0) return 'other';
  const step = plans[0]?.steps[0];
  const conjunction = step?.points[0];
  const binding = conjunction?.bindings[0];
  const expression = binding?.row[0];
  const simple =
    plans.length === 1 &&
    plans[0]?.steps.length === 1 &&
    plans[0].reasons.length === 0 &&
    keyColumns === 1 &&
    step?.points.length === 1 &&
    !step.newKey &&
    step.lookup === undefined &&
    conjunction?.bindings.length === 1 &&
    conjunction.bounds.length === 0 &&
    !binding?.array &&
    !binding?.asText;
  if (!simple || !step || expression?.kind !== 'slot' || expression.negate) return null;
  return { op: step.op, slot: expression.slot };
}

/** The key in the statement's own text. @param at where its values begin and end */
export function keyInText(
  { slot }: FastPlan,
  canonical: Canonical,
  sql: string,
  kinds: readonly ValueKind[],
  { starts, ends }: { readonly starts: Int32Array; readonly ends: Int32Array },
): string | undefined {
  const start = starts[slot] as number;
  const end = ends[slot] as number;
  if (kinds[slot] === 'number') return canonical(sql.slice(start, end));
  if (kinds[slot] !== 'string') return undefined;
  const text = sql.slice(start + 1, end - 1);
  return text.includes("'") ? undefined : canonical(text);
}

/** The key among the parameters. */
export function keyInParameters(
  { slot }: FastPlan,
  canonical: Canonical,
  scan: Scan,
  params: readonly (string | null)[],
): string | undefined {
  const values = scan.slots[slot];
  if (values?.length !== 1) return undefined;
  const { kind, start, end } = values[0] as Value;
  if (kind !== 'param') return undefined;
  const text = params[Number(scan.sql.slice(start + 1, end)) - 1];
  return typeof text === 'string' ? canonical(text) : undefined;
}
