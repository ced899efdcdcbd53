/**
 * What preflight learns about a migration's two tables, and what every later stage builds its SQL from.
 *
 * Conventions: `s` is the alias of a source row, `t` of a target row. Our own per-migration tables name the source
 * key columns k1, k2 … and the mapped (target) key columns m1, m2 …, in key order, with the types and collations
 * of S and T, so that no column name of the user's can collide with one of ours.
 */
export interface KeyColumn {
  readonly name: string;
  /** SQL type with modifiers, as format_type prints it */
  readonly type: string;
}

export interface MappedKeyColumn extends KeyColumn {
  /** over alias s, with the column's type and collation; depends on source key columns only */
  readonly value: string;
  /** the same over $1, $2 …: the source key columns in key order */
  readonly ofParameters: string;
  /** the same over bare column names, for an index on S */
  readonly ofColumns: string;
  /** what it is in a target row, over alias t; absent: the column of this name */
  readonly ofTarget?: string;
}

export interface SourceColumn extends KeyColumn {
  readonly notNull: boolean;
  /** pg_type.typcategory: N numeric, D date/time, S string, B boolean, E enum, U user-defined … */
  readonly category: string;
}

export interface MappedColumn extends KeyColumn {
  readonly notNull: boolean;
  readonly category: string;
  /** over alias s, every name outside pg_catalog qualified; INSERT casts it by assignment, so nothing is cut silently */
  readonly expression: string;
  /** the same with the column's exact type and collation: what the column will hold */
  readonly value: string;
  /** the source columns that the expression reads */
  readonly reads: readonly string[];
  /** the expression is just the source column of the same name and type */
  readonly identity: boolean;
  /** the column is GENERATED ALWAYS AS IDENTITY in the target, so inserts need OVERRIDING SYSTEM VALUE */
  readonly overriding: boolean;
}

/** Quoted, schema-qualified SQL names. */
export interface PhysicalNames {
  /** the source table, where the application finds it */
  readonly source: string;
  /** the target table, inside our schema while the migration runs */
  readonly target: string;
  /** the overlay view, under the target's public name */
  readonly overlay: string;
  readonly keyLog: string;
  readonly changeEvent: string;
  readonly member: string;
  readonly range: string;
  readonly overlayGate: string;
}

/** The row map f with everything that is needed to write SQL for it. */
export interface TablePlan {
  readonly migrationId: number;
  readonly name: string;
  readonly sourceOid: number;
  readonly targetOid: number;
  readonly names: PhysicalNames;
  readonly sourceKey: readonly KeyColumn[];
  readonly targetKey: readonly MappedKeyColumn[];
  readonly sourceColumns: readonly SourceColumn[];
  /** every target column that is written, in table order: all but generated ones */
  readonly columns: readonly MappedColumn[];
  /** target columns that the table generates itself, as expressions over bare target columns with its exact type and collation */
  readonly generated: readonly { readonly name: string; readonly expression: string }[];
  /** all columns of the target, in table order */
  readonly targetOrder: readonly string[];
  /** source column → expression over alias t */
  readonly back: readonly { readonly column: string; readonly expression: string }[];
  /** SQL booleans over aliases s and t */
  readonly invariants: readonly { readonly name: string; readonly sql: string }[];
  /** seed of the permanent random numbers u */
  readonly seed: number;
  /**
   * The way back of a migration: its source is T after the write cutover, its target the old table S. Rows are matched by
   * T's key on both sides, so `targetKey` holds T's key columns, found in S by `ofTarget`; no row of T can fail in the
   * application's own transaction because its key does not fit S.
   */
  readonly reverse?: true;
  /** of a way back: a row s of T comes from its own key again, f(back(key)) = key; else S could not find it by it */
  readonly roundTrip?: string;
  /** how S is kept in step with T after the write cutover; null: there is no way back, for the reasons beside it */
  readonly wayBack?: TablePlan | null;
  readonly noWayBack?: readonly string[];
}

/** Marks what we make for a plan: the number of its migration, and whether it is the way back. */
export function planLabel(plan: Pick<TablePlan, 'migrationId' | 'reverse'>): string {
  return plan.reverse ? `${plan.migrationId}_back` : String(plan.migrationId);
}
