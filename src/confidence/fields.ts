import type { MappedColumn, SourceColumn, TablePlan } from '../core/plan.ts';
import { ident } from '../db/ident.ts';
import type { CommonSpace, FieldCheck } from './report.ts';

/** How a field's values are compared before anything is known of them. `text` may turn out to be a category. */
export type FieldForm = 'number' | 'time' | 'boolean' | 'enum' | 'string' | 'opaque';

/** A column that shadow and source can be compared in. */
export interface ComparableField {
  readonly name: string;
  readonly form: FieldForm;
  readonly space: CommonSpace;
  readonly weight: number;
  readonly checked: FieldCheck;
  /** value in the common space, over alias s */
  readonly sourceSql: string;
  /** value in the common space, over alias t */
  readonly targetSql: string;
}

/**
 * Every column with a counterpart through the row map, in a common space: the same column untouched, else T's value
 * through the back map (named after the source column), else f of the source (named after the target column).
 *
 * @param weights column → weight (source columns; target columns too); every field with weight 1 when empty
 */
export function comparableFields(
  plan: TablePlan,
  weights: Readonly<Record<string, number>>,
): { fields: ComparableField[]; unknown: string[] } {
  const sources = new Map(plan.sourceColumns.map((column) => [column.name, column]));
  const all = [...rawFields(plan), ...backFields(plan, sources), ...forwardFields(plan)];
  const named = Object.keys(weights);
  if (named.length === 0) return { fields: all.map((field) => field.as(1)), unknown: [] };
  const fields = all.flatMap((field) => {
    const weight = weights[field.name] ?? Math.max(0, ...field.reads.map((name) => weights[name] ?? 0));
    return weight > 0 ? [field.as(weight)] : [];
  });
  const known = new Set(all.flatMap((field) => [field.name, ...field.reads]));
  return { fields, unknown: named.filter((name) => !known.has(name)) };
}

/** A field before its weight is known; `reads` are other names by which the migration file may mean it. */
interface Candidate {
  readonly name: string;
  readonly reads: readonly string[];
  as(weight: number): ComparableField;
}

function candidate(field: Omit<ComparableField, 'weight'>, reads: readonly string[]): Candidate {
  return { name: field.name, reads, as: (weight) => ({ ...field, weight }) };
}

function rawFields(plan: TablePlan): Candidate[] {
  return plan.columns
    .filter((column) => column.identity)
    .map((column) =>
      candidate(
        {
          name: column.name,
          form: formOf(column),
          space: 'raw',
          checked: 'raw',
          sourceSql: column.expression,
          targetSql: `t.${ident(column.name)}`,
        },
        [],
      ),
    );
}

function backFields(plan: TablePlan, sources: ReadonlyMap<string, SourceColumn>): Candidate[] {
  return plan.back.flatMap(({ column, expression }) => {
    const source = sources.get(column);
    // an identity column is compared raw already
    if (!source || plan.columns.some((mapped) => mapped.identity && mapped.name === column)) return [];
    const reads = plan.columns.filter((mapped) => mentions(expression, mapped.name)).map(({ name }) => name);
    const field = {
      name: column,
      form: formOf(source),
      space: 'back',
      checked: 'back',
      sourceSql: `s.${ident(column)}`,
      targetSql: castTo(expression, source.type),
    } as const;
    return [candidate(field, reads)];
  });
}

/** A target column that no back map reads: nothing else would look at it. */
function forwardFields(plan: TablePlan): Candidate[] {
  const hidden = plan.columns.filter(
    (column) => !column.identity && !plan.back.some(({ expression }) => mentions(expression, column.name)),
  );
  return hidden.map((column) =>
    candidate(
      {
        name: column.name,
        form: formOf(column),
        space: 'forward',
        checked: checkedByInvariant(plan, column) ? 'invariant' : 'unchecked',
        sourceSql: column.value,
        targetSql: `t.${ident(column.name)}`,
      },
      column.reads,
    ),
  );
}

/** An invariant checks the column when it names it on the target's side. */
function checkedByInvariant(plan: TablePlan, column: MappedColumn): boolean {
  const qualified = new RegExp(`\\bt\\s*\\.\\s*(?:${nameIn(column.name)})`, 'iu');
  return plan.invariants.some(({ sql }) => qualified.test(withoutLiterals(sql)));
}

/** Whether an expression reads the column. Text is enough: a wrong yes costs one extra look at the migration file. */
function mentions(expression: string, column: string): boolean {
  return new RegExp(`(?<![\\p{L}\\p{N}_$"])(?:${nameIn(column)})`, 'iu').test(withoutLiterals(expression));
}

function nameIn(column: string): string {
  const escaped = column.replaceAll(/[\\^$.*+?()[\]{}|/-]/g, '\\$&');
  const quoted = `"${escaped.replaceAll('"', '""')}"`;
  return `${quoted}|${escaped}(?![\\p{L}\\p{N}_$"])`;
}

const withoutLiterals = (sql: string) => sql.replaceAll(/'(?:[^']|'')*'/g, "''");

/**
 * `(expression)::type`, as an assignment would convert it. Character and bit types lose their length first: an
 * explicit cast to varchar(3) cuts off in silence what an assignment would refuse, and would hide the error.
 */
export function castTo(expression: string, type: string): string {
  const free = type
    .replace(/^character varying\(\d+\)/, 'character varying')
    .replace(/^character(\(\d+\))?(?=$|\[)/, 'bpchar')
    .replace(/^bit varying\(\d+\)/, 'bit varying')
    .replace(/^bit(\(\d+\))?(?=$|\[)/, 'bit varying');
  return `(${expression})::${free}`;
}

function formOf({ category, type }: { readonly category: string; readonly type: string }): FieldForm {
  switch (category) {
    case 'N':
      // regclass and its kin are numeric only by category
      return /^reg|^money$/.test(type) ? 'opaque' : 'number';
    case 'D':
    case 'T':
      return 'time';
    case 'B':
      return 'boolean';
    case 'E':
      return 'enum';
    case 'S':
      return 'string';
    default:
      return 'opaque';
  }
}
