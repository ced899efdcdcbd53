/** What the swap does with one object that is bound to the table by its OID, and would stay with the old table. */
export interface Handover {
  /** system catalogue and OID, as pg_depend has them */
  readonly catalog: string;
  readonly oid: number;
  /** as PostgreSQL describes it, with its schema */
  readonly object: string;
  /** why the swap cannot take it along; null: it can */
  readonly refused: string | null;
  /** what cannot be known beforehand, in a sentence */
  readonly warning: string | null;
  /** while both tables still have their old names */
  readonly before: readonly string[];
  /** when the new table stands in its final place */
  readonly after: readonly string[];
  /** after the swap, without its locks: may be repeated, and may take long */
  readonly settle: readonly string[];
  /** the same over {@link twin}, to be tried and taken back */
  readonly trial: readonly string[];
  /** other tables that must be locked for it */
  readonly relatives: readonly number[];
  /** views that must be locked for it, those of which nothing else reads first */
  readonly views: readonly { readonly name: string; readonly owner: string }[];
}

const nothing = {
  refused: null,
  warning: null,
  before: [],
  after: [],
  settle: [],
  trial: [],
  relatives: [],
  views: [],
} as const;

type Identity = Pick<Handover, 'catalog' | 'oid' | 'object'>;
type Work = Partial<Omit<Handover, keyof Identity | 'refused'>>;

export const handOver = ({ catalog, oid, object }: Identity, work: Work): Handover => ({
  ...nothing,
  ...work,
  catalog,
  oid,
  object,
});

export const cannot = ({ catalog, oid, object }: Identity, refused: string): Handover => ({
  ...nothing,
  catalog,
  oid,
  object,
  refused,
});

/** An empty table like the new one, on which is tried whether what is to be made anew fits it. */
export const twin = 'pg_temp.foreshadow_twin';

/** The first of `columns` that is not among `known`, as a reason; null when all are. */
export function lacks(
  columns: readonly string[],
  known: readonly string[],
  what = 'has no such column',
): string | null {
  const missing = columns.filter((column) => !known.includes(column));
  return missing.length
    ? `it uses ${missing.map((column) => `"${column}"`).join(', ')}, and the new table ${what}`
    : null;
}
