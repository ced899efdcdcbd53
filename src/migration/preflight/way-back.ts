import type { ClientBase } from 'pg';
import type { MigrationFile } from '../../config/migration-file.ts';
import type { MappedColumn, TablePlan } from '../../core/plan.ts';
import type { CatalogColumn, CatalogTable } from '../../db/catalog.ts';
import { ident } from '../../db/ident.ts';
import { fromOne, replaceColumns, resolveExpression } from './expression.ts';
import { fewestRows, rowsInTime, sampleOf } from './rehearsal.ts';
import { convertsByItself, generatedColumns, requireAssignable, typedValue } from './row-map.ts';

/** A way back before it has a number. */
export type ReversePlan = Omit<TablePlan, 'migrationId' | 'names'>;

export const wholeNumbers = ['smallint', 'integer', 'bigint'];
const namedRows = 5;

/** What the way forward is, as far as the way back follows from it. */
export interface Forward {
  readonly name: string;
  readonly columns: readonly MappedColumn[];
  readonly sourceKey: TablePlan['sourceKey'];
  readonly targetKey: TablePlan['targetKey'];
  readonly seed: number;
}

/**
 * How rows of T become rows of S again. There is a way back only if every column of S that S does not generate itself
 * gets its value from T: by the back map, or because T has the same column. A default would not do: changed rows are
 * written anew, and would lose what they held. Runs inside a transaction that the caller rolls back.
 * @returns the plan, or why there is none
 */
export async function resolveWayBack(
  client: ClientBase,
  file: MigrationFile,
  source: CatalogTable,
  target: CatalogTable,
  forward: Forward,
): Promise<{ wayBack: ReversePlan | null; reasons: string[] }> {
  const reasons: string[] = [];
  const nowhere: string[] = [];
  const columns: MappedColumn[] = [];
  for (const column of source.columns) {
    if (column.generated !== null) continue;
    const text = file.back[column.name] ?? (await sameAgain(client, column, target, forward.columns));
    if (text === null) {
      nowhere.push(column.name);
      continue;
    }
    try {
      columns.push(await backColumn(client, column, text, source, target));
    } catch (error) {
      reasons.push(`back map of "${column.name}": ${(error as Error).message}`);
    }
  }
  if (nowhere.length)
    reasons.unshift(`nothing in the target gives these columns of the source back: ${nowhere.join(', ')}`);
  if (reasons.length) return { wayBack: null, reasons };
  const wayBack = reversePlan(source, target, forward, columns);
  const failing = await rehearse(client, source, target, forward, wayBack);
  return failing ? { wayBack: null, reasons: [failing] } : { wayBack, reasons: [] };
}

/** The column of the same name, where the map keeps its value and the way back loses nothing without an error. */
async function sameAgain(
  client: ClientBase,
  column: CatalogColumn,
  target: CatalogTable,
  mapped: readonly MappedColumn[],
): Promise<string | null> {
  const of = target.columns.find((candidate) => candidate.name === column.name);
  const map = mapped.find((candidate) => candidate.name === column.name);
  if (!of || !map) return null;
  const bare = /^\(?s\.(?:"(?:[^"]|"")+"|\w+)\)?(?:::[a-z ]+(?:\([0-9, ]+\))?)?$/.test(map.expression);
  if (!map.identity && !(bare && map.reads.length === 1 && map.reads[0] === column.name)) return null;
  const integers = wholeNumbers.includes(of.type) && wholeNumbers.includes(column.type);
  return integers || (await convertsByItself(client, of, column)) ? `t.${ident(column.name)}` : null;
}

async function backColumn(
  client: ClientBase,
  column: CatalogColumn,
  text: string,
  source: CatalogTable,
  target: CatalogTable,
): Promise<MappedColumn> {
  const relation = ident(target.schema, target.name);
  const resolved = await resolveExpression(client, column.name, text, {
    sql: fromOne(relation, 't'),
    oid: target.oid,
  });
  const sql = replaceColumns(resolved.sql, (name) => `s.${ident(name)}`);
  const value = typedValue(column, { ...resolved, sql });
  // INSERT casts by assignment, which refuses what an explicit cast would cut off; not every type can be assigned
  const expression = await requireAssignable(client, column, sql, target, source).then(
    () => sql,
    () => `(${sql})::${column.type}`,
  );
  const { name, type, category, notNull, identity } = column;
  return {
    name,
    type,
    category,
    notNull,
    expression,
    value,
    reads: resolved.reads ?? target.columns.map((each) => each.name),
    identity: value === `s.${ident(name)}`,
    overriding: identity === 'a',
  };
}

function reversePlan(
  source: CatalogTable,
  target: CatalogTable,
  forward: Forward,
  columns: readonly MappedColumn[],
): ReversePlan {
  const back = (name: string) => columns.find((column) => column.name === name)?.value ?? 'null';
  const roundTrip = forward.targetKey.map(
    (column) => `${replaceColumns(column.value, (name) => `(${back(name)})`)} = s.${ident(column.name)}`,
  );
  return {
    name: forward.name,
    reverse: true,
    sourceOid: target.oid,
    targetOid: source.oid,
    sourceKey: forward.targetKey.map(({ name, type }) => ({ name, type })),
    targetKey: forward.targetKey.map(({ name, type, value }, i) => ({
      name,
      type,
      value: `s.${ident(name)}`,
      ofParameters: `$${i + 1}`,
      ofColumns: ident(name),
      ofTarget: replaceColumns(value, (column) => `t.${ident(column)}`),
    })),
    roundTrip: roundTrip.join(' and '),
    sourceColumns: target.columns.map(({ name, type, notNull, category }) => ({
      name,
      type,
      notNull,
      category,
    })),
    columns,
    generated: generatedColumns(source),
    targetOrder: source.columns.map((column) => column.name),
    back: [],
    invariants: [],
    seed: forward.seed,
  };
}

/**
 * back(f(row)) = row, for the rows that the map itself is rehearsed on. Values are compared as JSON has them: every type
 * has such a form, and 1.0 and 1.00 are one number in it.
 * @returns what fails, or null
 */
async function rehearse(
  client: ClientBase,
  source: CatalogTable,
  target: CatalogTable,
  forward: Forward,
  wayBack: ReversePlan,
): Promise<string | null> {
  const original = wayBack.columns.map((column) => `s.${ident(column.name)}`).join(', ');
  const key = forward.sourceKey.map((column) => `s.${ident(column.name)}::text`).join(` || ',' || `);
  const mapped = forward.columns.map((column) => `${column.value} as ${ident(column.name)}`).join(', ');
  const generated = generatedColumns(target).map(({ name, expression }) => `${expression} as ${ident(name)}`);
  const restored = wayBack.columns.map((column) => column.value).join(', ');
  const failing = async (most: number) => {
    const { rows } = await client.query<{ key: string }>(
      `select s.foreshadow_key as key from (
         select t.*${generated.map((each) => `, ${each}`).join('')} from (
           select ${key} as foreshadow_key, row(${original}) as foreshadow_row, ${mapped}
             from (select s.* from ${sampleOf(source, most).sample} limit ${most}) s) t) s
        where (record_image_ne(row(${restored}), s.foreshadow_row)
               and to_jsonb(row(${restored})) is distinct from to_jsonb(s.foreshadow_row))
           or (${wayBack.roundTrip}) is not true
        limit ${namedRows}`,
    );
    return rows;
  };
  await client.query('savepoint way_back');
  try {
    const began = performance.now();
    let rows = await failing(fewestRows);
    const most = rowsInTime(performance.now() - began);
    if (!rows.length && most > fewestRows) rows = await failing(most);
    return rows.length
      ? `the back map does not restore rows ${rows.map((row) => row.key).join('; ')} of ${source.schema}.${source.name}`
      : null;
  } catch (error) {
    await client.query('rollback to savepoint way_back');
    return `the back map fails on rows of ${source.schema}.${source.name}: ${(error as Error).message}`;
  }
}
