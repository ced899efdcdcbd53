import type { ClientBase } from 'pg';
import type { PhysicalNames, TablePlan } from '../../core/plan.ts';
import { ident } from '../../db/ident.ts';
import { mappedRowsSql, overlaySql } from '../../shadow/overlay.ts';
import { migrationTablesSql } from '../../sync/tables.ts';
import { mappedKeyIndexName } from '../begin.ts';
import { findCarried } from '../deferred-indexes.ts';
import { replaceColumns } from '../preflight/expression.ts';

/** Rows of S that are tried on: enough that an index wins over a scan, as it does on millions; a second or two to make. */
const stageRows = 50_000;
/** And not more than this, for tables with long rows. */
const stageBytes = 64 << 20;

/** Where a statement can be tried: quoted names of relations. */
export interface Place {
  /** S */
  readonly source: string;
  /** T in the middle of the copy, and the rest from S: the overlay */
  readonly overlay: string;
  /** the overlay under the columns of S, as far as T and the back map can give them */
  readonly translated: string;
}

/** Both tables in small, as temporary tables of one session, with their indexes: whatever is tried on it is tried for real. */
export interface Stage extends Place {
  /** the plan with every name on the stage */
  readonly plan: TablePlan;
  /** half of the rows */
  readonly target: string;
  /** T as it will be after the swap: every row, the indexes that the swap carries included */
  readonly final: string;
  readonly rows: number;
  readonly sampled: boolean;
}

const ours = (name: string) => `pg_temp.foreshadow_stage_${name}`;

const names: PhysicalNames = {
  source: ours('source'),
  target: ours('target'),
  overlay: ours('overlay'),
  keyLog: ours('key_log'),
  changeEvent: ours('change_event'),
  member: ours('member'),
  range: ours('range'),
  overlayGate: ours('overlay_gate'),
};
const final = ours('final');

/**
 * Makes the stage. Every statement is a transaction of its own, so that S and T are locked, for reading, no longer than
 * copying the sample takes. All of it ends with the session.
 * @param real the plan, with names under which S and T are found now
 * @param targetNow T's name now
 */
export async function buildStage(
  client: ClientBase,
  real: TablePlan,
  targetNow: string,
  source: { readonly estimatedRows: number; readonly totalBytes: number },
): Promise<Stage> {
  const plan: TablePlan = { ...real, names };
  // a tenth of the usual sample: it is taken again for each index that is tried
  await client.query('set default_statistics_target = 10');
  const like = 'including indexes including statistics including storage including compression';
  const wanted = rowsWanted(source);
  const sampled = source.estimatedRows > wanted;
  const percent = Math.min(100, Math.max(0.0001, (120 * wanted) / Math.max(1, source.estimatedRows)));
  const sample = sampled ? ` tablesample system (${percent.toFixed(4)}) limit ${wanted}` : '';
  await client.query(`create table ${names.source} (like ${real.names.source} ${like})`);
  const { rowCount } = await client.query(
    `insert into ${names.source} select * from ${real.names.source} s${sample}`,
  );
  if (mappedKeyIndexName(plan) !== null) {
    const key = plan.targetKey.map((column) => `(${column.ofColumns})`).join(', ');
    await client.query(`create index on ${names.source} (${key})`);
  }
  await client.query(`create table ${final} (like ${targetNow} ${like})`);
  await client.query(`create table ${names.target} (like ${targetNow} ${like})`);
  await client.query(`insert into ${final} ${mappedRowsSql(plan, 'true')}`);
  const key = plan.targetKey.map((column) => `t.${ident(column.name)}`).join(', ');
  await client.query(
    `insert into ${names.target} select t.* from ${final} t where pg_catalog.hash_record_extended(row(${key}), 0) & 1 = 0`,
  );
  for (const index of await findCarried(client, { ...real, names: { ...real.names, target: final } }))
    await client.query(index.definition.replace('index concurrently', 'index'));
  for (const sql of migrationTablesSql(plan)) await client.query(sql);
  await client.query(overlaySql(plan));
  const translated = ours('translated');
  await client.query(translatedSql(plan, names.overlay, translated));
  for (const table of [names.source, names.target, final]) await client.query(`analyze ${table}`);
  return {
    plan,
    source: names.source,
    target: names.target,
    overlay: names.overlay,
    translated,
    final,
    rows: rowCount ?? 0,
    sampled,
  };
}

function rowsWanted({ estimatedRows, totalBytes }: { estimatedRows: number; totalBytes: number }): number {
  const rowBytes = totalBytes / Math.max(1, estimatedRows);
  return Math.max(1000, Math.min(stageRows, Math.floor(stageBytes / Math.max(1, rowBytes))));
}

/** The real tables of a migration that has begun. */
export async function realPlace(client: ClientBase, plan: TablePlan): Promise<Place> {
  const translated = ours('translated_now');
  await client.query(translatedSql(plan, plan.names.overlay, translated));
  return { source: plan.names.source, overlay: plan.names.overlay, translated };
}

/** How a column of S can be told from a row t of T: by T's column of the same name, or by the back map; null: not at all. */
export function translation(plan: TablePlan, column: string): string | null {
  const of = plan.sourceColumns.find(({ name }) => name === column);
  const same = plan.columns.find(({ name }) => name === column);
  const back = plan.back.find((each) => each.column === column)?.expression ?? null;
  const alike = same && of && same.category === of.category;
  if (alike) return `t.${ident(column)}`;
  return back ?? (same ? `t.${ident(column)}` : null);
}

function translatedSql(plan: TablePlan, overlay: string, name: string): string {
  const columns = plan.sourceColumns.flatMap((column) => {
    const sql = translation(plan, column.name);
    return sql === null ? [] : [`${sql} as ${ident(column.name)}`];
  });
  return `create temp view ${name.replace('pg_temp.', '')} as select ${columns.join(', ') || '1 as one'} from ${overlay} t`;
}

/**
 * The expressions on which an index would serve a condition on `column` in each branch of the overlay, over bare columns.
 * @param translated the column is one of S, told from T by {@link translation}; otherwise it is one of T
 * @returns null when there is none, such as for a generated column
 */
export function indexable(
  plan: TablePlan,
  column: string,
  translated: boolean,
): { source: string; target: string } | null {
  const sql = translated ? translation(plan, column) : `t.${ident(column)}`;
  if (sql === null) return null;
  const value = (name: string) => plan.columns.find((each) => each.name === name)?.value;
  if (translated && sql !== `t.${ident(column)}`) {
    let known = true;
    const ofSource = replaceColumns(sql, (name) => {
      known &&= value(name) !== undefined;
      return `(${value(name) ?? 'null'})`;
    });
    const bare = replaceColumns(ofSource, (name) => ident(name));
    return known ? { source: bare, target: replaceColumns(sql, (name) => ident(name)) } : null;
  }
  const mapped = value(column);
  if (mapped === undefined) return null;
  return { source: replaceColumns(mapped, (name) => ident(name)), target: ident(column) };
}

/** Takes the stage's S for its old self, and T for S: what the swap does to names. */
export async function swapStage(client: ClientBase, stage: Stage): Promise<void> {
  const bare = (name: string) => name.replace('pg_temp.', '');
  await client.query(`alter table ${stage.source} rename to ${bare(ours('passed'))}`);
  await client.query(`alter table ${stage.final} rename to ${bare(stage.source)}`);
}
