import type { ClientBase } from 'pg';
import { ForeshadowError } from '../../core/errors.ts';
import type { MappedColumn } from '../../core/plan.ts';
import type { CatalogTable } from '../../db/catalog.ts';
import { ident } from '../../db/ident.ts';
import { codeOf } from '../../db/sqlstate.ts';
import { likeTargetSql } from './partitions.ts';

/** Above this many rows a block sample is rehearsed; a rare bad row beyond it stops the copy, by name, later. */
const rehearsedRows = 200_000;
/** All of it is one transaction, which should be over in seconds: of a dear map fewer rows are tried, never fewer than this. */
export const fewestRows = 2000;
const rehearsalMs = 1000;
const namedRows = 10;

/** How many rows a rehearsal has the time for, when its fewest took `ms`. */
export const rowsInTime = (ms: number): number =>
  Math.max(fewestRows, Math.min(rehearsedRows, Math.floor((rehearsalMs * fewestRows) / Math.max(1, ms))));

/** Rows s of a table: all, or a block sample of about `rows` of a larger one. */
export function sampleOf(
  source: CatalogTable,
  rows: number = rehearsedRows,
): { sampled: boolean; sample: string } {
  const relation = ident(source.schema, source.name);
  const sampled = source.estimatedRows > rows;
  const percent = Math.max(0.0001, (100 * rows) / Math.max(1, source.estimatedRows));
  const sample = sampled ? `${relation} as s tablesample system (${percent.toFixed(4)})` : `${relation} as s`;
  return { sampled, sample };
}

/**
 * Runs f over the source into a temporary table with the target's columns, checks and unique indexes, so that a cast
 * that overflows, a NULL or two rows with one key are found before anything is touched. The caller rolls back.
 * @returns how many rows were tried, of how many
 * @throws ForeshadowError MAP_FAILS naming up to ten keys and PostgreSQL's reason for each
 */
export async function rehearseRowMap(
  client: ClientBase,
  source: CatalogTable,
  target: CatalogTable,
  key: readonly string[],
  columns: readonly MappedColumn[],
): Promise<{ tried: number; sampled: boolean }> {
  const relation = ident(source.schema, source.name);
  const names = columns.map((column) => ident(column.name)).join(', ');
  const values = columns.map((column) => column.expression).join(', ');
  const into = `insert into pg_temp.foreshadow_rehearsal (${names}) overriding system value`;
  let most = rehearsedRows;
  await client.query('savepoint rehearsal');
  try {
    for (const sql of await likeTargetSql(client, target, 'foreshadow_rehearsal')) await client.query(sql);
    const began = performance.now();
    const first = await client.query(
      `${into} select ${values} from ${sampleOf(source, most).sample} limit ${fewestRows}`,
    );
    let tried = first.rowCount ?? 0;
    if (tried === fewestRows) {
      most = rowsInTime(performance.now() - began);
      await client.query('truncate pg_temp.foreshadow_rehearsal');
      tried =
        (await client.query(`${into} select ${values} from ${sampleOf(source, most).sample} limit ${most}`))
          .rowCount ?? 0;
    }
    await client.query('rollback to savepoint rehearsal');
    return { tried, sampled: source.estimatedRows > most || tried === most };
  } catch (error) {
    await client.query('rollback to savepoint rehearsal');
    const code = codeOf(error) ?? '';
    if (!code.startsWith('22') && !code.startsWith('23') && code !== 'P0001') throw error;
    const found = await failingRows(client, source, target, key, into, values, sampleOf(source, most).sample);
    await client.query('rollback to savepoint rehearsal');
    const list = found.map((row) => `${row.key}: ${row.message}`).join('; ');
    throw new ForeshadowError(
      'MAP_FAILS',
      `the row map fails on rows of ${relation}: ${list || (error as Error).message}`,
      {
        keys: found.map((row) => row.key),
        reasons: found.map((row) => row.message),
      },
    );
  }
}

/** One row at a time, each in a subtransaction: slow, and only after the fast way has failed. */
async function failingRows(
  client: ClientBase,
  source: CatalogTable,
  target: CatalogTable,
  key: readonly string[],
  into: string,
  values: string,
  sample: string,
): Promise<{ key: string; message: string }[]> {
  const keyText = key.map((column) => `s.${ident(column)}::text`).join(` || ',' || `);
  for (const sql of await likeTargetSql(client, target, 'foreshadow_rehearsal')) await client.query(sql);
  await client.query(
    `create function pg_temp.foreshadow_failing() returns table (key text, message text) language plpgsql as $body$
     #variable_conflict use_column
     declare s ${ident(source.schema, source.name)}%rowtype; found_rows integer := 0;
     begin
       for s in select s.* from ${sample} loop
         begin
           ${into} values (${values});
         exception when others then
           key := ${keyText}; message := sqlerrm; found_rows := found_rows + 1;
           return next;
           exit when found_rows >= ${namedRows};
         end;
       end loop;
     end $body$`,
  );
  const { rows } = await client.query<{ key: string; message: string }>(
    'select * from pg_temp.foreshadow_failing()',
  );
  return rows;
}
