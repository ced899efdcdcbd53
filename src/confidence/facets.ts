import type { Bind } from './bind.ts';
import type { Bins } from './bins.ts';
import type { ComparableField } from './fields.ts';
import type { FieldKind } from './report.ts';

/** One distribution of a field: the expression that is counted, in both tables. */
export interface Facet {
  readonly field: string;
  readonly name: 'value' | 'length' | 'prefix';
  /** `quantile`: the expressions are float8; `frequent`: text */
  readonly type: Bins['type'];
  readonly sourceSql: string;
  readonly targetSql: string;
}

/** A facet whose bins are known. JSON-safe; labels and edges are values of rows: never log them, never show them. */
export interface BinnedFacet extends Facet {
  readonly bins: Bins;
}

/**
 * The facets a field may be compared in. Numbers and times by value; booleans, enums and strings by their frequent
 * values; strings and everything else by length and first characters as well: source statistics choose for strings.
 */
export function facetsOf(field: ComparableField): Facet[] {
  const facet = (name: Facet['name'], type: Facet['type'], sql: (value: string) => string): Facet => ({
    field: field.name,
    name,
    type,
    sourceSql: sql(field.sourceSql),
    targetSql: sql(field.targetSql),
  });
  switch (field.form) {
    case 'number':
      return [facet('value', 'quantile', (value) => `(${value})::float8`)];
    case 'time':
      return [facet('value', 'quantile', (value) => `extract(epoch from ${value})::float8`)];
    case 'boolean':
    case 'enum':
      return [facet('value', 'frequent', (value) => `(${value})::text`)];
    case 'string':
    case 'opaque': {
      const classes = [
        facet('length', 'quantile', (value) => `length((${value})::text)::float8`),
        facet('prefix', 'frequent', (value) => `left((${value})::text, 2)`),
      ];
      const value = facet('value', 'frequent', (sql) => `(${sql})::text`);
      return field.form === 'string' ? [value, ...classes] : classes;
    }
  }
}

/** A string whose frequent values cover this much of it is a category; the others are text. */
const categoryCover = 0.8;

/** Of a string's facets, the ones to count: its value if it is a category, else its classes. */
export function chooseFacets(
  field: ComparableField,
  facets: readonly BinnedFacet[],
  cover: number,
): { kind: FieldKind; facets: readonly BinnedFacet[] } {
  switch (field.form) {
    case 'string':
      return cover >= categoryCover
        ? { kind: 'category', facets: facets.filter(({ name }) => name === 'value') }
        : { kind: 'text', facets: facets.filter(({ name }) => name !== 'value') };
    case 'opaque':
      return { kind: 'text', facets };
    default:
      return { kind: field.form, facets };
  }
}

/**
 * SQL for the number of the bin that a value falls into, as sizeOf() counts them. Never null.
 * @param side which table's expression
 * @param bind adds a bound value and returns its placeholder
 */
export function binSql(facet: BinnedFacet, side: 'sourceSql' | 'targetSql', bind: Bind): string {
  const value = facet[side];
  const { bins } = facet;
  if (bins.type === 'frequent') {
    const labels = bind(bins.labels);
    // collate "C": equality of bytes, whatever the column's collation
    const position = `array_position(${labels}::text[] collate "C", (${value}) collate "C")`;
    return `case when (${value}) is null then 0 else coalesce(${position}, ${bins.labels.length + 1}) end`;
  }
  const heavy = bind(bins.heavy);
  const edges = bind(bins.edges);
  const H = bins.heavy.length;
  return (
    `case when (${value}) is null then 0 else coalesce(array_position(${heavy}::float8[], ${value}), ` +
    `${H + 1} + width_bucket(${value}, ${edges}::float8[])) end`
  );
}
