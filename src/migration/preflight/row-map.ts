import type { ClientBase } from 'pg';
import type { MigrationFile } from '../../config/migration-file.ts';
import { ForeshadowError } from '../../core/errors.ts';
import type { MappedColumn, TablePlan } from '../../core/plan.ts';
import type { CatalogColumn, CatalogTable } from '../../db/catalog.ts';
import { ident } from '../../db/ident.ts';
import { codeOf } from '../../db/sqlstate.ts';
import {
  fromOne,
  type ResolvedExpression,
  requireImmutable,
  requireOfRows,
  resolveExpression,
} from './expression.ts';
import { requireFreeOfSettings } from './session-settings.ts';

/** Types between which PostgreSQL converts without being asked, and without loss that a user must know of. */
export async function convertsByItself(
  client: ClientBase,
  from: CatalogColumn,
  to: CatalogColumn,
): Promise<boolean> {
  if (from.typeOid === to.typeOid) {
    if (from.typmod === to.typmod || to.typmod === -1) return true;
    return to.category === 'S'; // too long a string raises an error; a number would be rounded silently
  }
  const { rowCount } = await client.query(
    "select 1 from pg_cast where castsource = $1 and casttarget = $2 and castcontext = 'i'",
    [from.typeOid, to.typeOid],
  );
  return (rowCount ?? 0) > 0 && (to.typmod === -1 || to.category === 'S');
}

/** The text that fills a target column: its map, else the source column of the same name, else its own default. */
async function chooseText(
  client: ClientBase,
  file: MigrationFile,
  source: CatalogTable,
  target: CatalogTable,
  column: CatalogColumn,
): Promise<{ text: string; identity: boolean }> {
  const mapped = file.map[column.name];
  if (mapped !== undefined) return { text: mapped, identity: false };
  const same = source.columns.find((candidate) => candidate.name === column.name);
  const where = `target column "${column.name}" (${column.type}) of ${target.schema}.${target.name}`;
  if (same) {
    if (!(await convertsByItself(client, same, column))) {
      const example = `"map": { "${column.name}": "${same.name}::${column.type}" }`;
      throw new ForeshadowError(
        'MAP_INVALID',
        `${where}: ${same.type} does not become ${column.type} by itself; write ${example}`,
        {
          column: column.name,
        },
      );
    }
    return {
      text: `s.${ident(same.name)}`,
      identity: same.typeOid === column.typeOid && same.typmod === column.typmod,
    };
  }
  if (column.defaultSql !== null) return { text: column.defaultSql, identity: false };
  const kind = column.identity
    ? 'is an identity of its own, which no row of the source determines'
    : column.notNull
      ? 'is NOT NULL'
      : 'is nullable';
  throw new ForeshadowError('TARGET_UNMAPPED', `${where} ${kind}, and has no source column, default or map`, {
    column: column.name,
  });
}

/**
 * The row map f, one expression a target column, each parsed, typed and found immutable by PostgreSQL itself.
 * Runs inside a transaction that the caller rolls back.
 */
export async function resolveRowMap(
  client: ClientBase,
  file: MigrationFile,
  source: CatalogTable,
  target: CatalogTable,
): Promise<{ columns: MappedColumn[]; errors: ForeshadowError[] }> {
  const columns: MappedColumn[] = [];
  const errors: ForeshadowError[] = [];
  const relation = ident(source.schema, source.name);
  for (const name of Object.keys(file.map)) {
    const column = target.columns.find((candidate) => candidate.name === name);
    if (!column)
      errors.push(
        new ForeshadowError('MAP_INVALID', `map names "${name}", which ${file.target} does not have`, {
          column: name,
        }),
      );
    else if (column.generated)
      errors.push(
        new ForeshadowError('MAP_INVALID', `map names "${name}", which ${file.target} generates itself`, {
          column: name,
        }),
      );
  }
  for (const column of target.columns) {
    try {
      if (column.generated) {
        // lanes compute it in our sessions, the overlay in the application's
        const is = `generated column "${column.name}" of ${file.target}`;
        await requireFreeOfSettings(
          client,
          { column: column.name, is },
          column.generated,
          ident(target.schema, target.name),
        );
        continue;
      }
      const { text, identity } = await chooseText(client, file, source, target, column);
      const resolved = await resolveExpression(client, column.name, text, {
        sql: fromOne(relation, 's'),
        oid: source.oid,
      });
      await requireImmutable(client, column.name, resolved.sql, relation);
      await requireAssignable(client, column, resolved.sql, source, target);
      // The conversion to the column's type is part of the map: timestamp → timestamptz depends on the time zone.
      const value = typedValue(column, resolved);
      if (value !== resolved.sql) await requireImmutable(client, column.name, value, relation);
      columns.push({
        name: column.name,
        type: column.type,
        category: column.category,
        notNull: column.notNull,
        expression: resolved.sql,
        value,
        reads: resolved.reads ?? source.columns.map((each) => each.name),
        identity,
        overriding: column.identity === 'a',
      });
    } catch (error) {
      if (!(error instanceof ForeshadowError)) throw error;
      errors.push(error);
    }
  }
  return { columns, errors };
}

/** The expression as the column will hold it. Left bare where it has type and collation already: indexes match it then. */
export function typedValue(column: CatalogColumn, resolved: Omit<ResolvedExpression, 'reads'>): string {
  const sameType =
    resolved.typeOid === column.typeOid && (column.typmod === -1 || resolved.typmod === column.typmod);
  const cast = sameType ? resolved.sql : `(${resolved.sql})::${column.type}`;
  const sameCollation = column.collation === null || column.collationOid === resolved.collationOid;
  return sameCollation ? cast : `((${cast}) collate ${column.collation})`;
}

/**
 * The columns that a table generates itself, as expressions with the column's exact type and collation: PostgreSQL does not
 * print the conversion to it, which may round.
 */
export function generatedColumns(table: CatalogTable): TablePlan['generated'] {
  return table.columns.flatMap(({ name, generated, type, collation }) => {
    if (generated === null) return [];
    const cast = `(${generated})::${type}`;
    return [{ name, expression: collation === null ? cast : `(${cast}) collate ${collation}` }];
  });
}

/** The expression's type can be stored in the column by an assignment cast, as INSERT will do. */
export async function requireAssignable(
  client: ClientBase,
  column: CatalogColumn,
  sql: string,
  source: CatalogTable,
  target: CatalogTable,
): Promise<void> {
  await client.query('savepoint assignable');
  try {
    await client.query(`create temp table foreshadow_assign (like ${ident(target.schema, target.name)})`);
    await client.query(
      `insert into pg_temp.foreshadow_assign (${ident(column.name)}) select ${sql} from ${ident(source.schema, source.name)} s where false`,
    );
  } catch (error) {
    await client.query('rollback to savepoint assignable');
    if (codeOf(error) !== '42804') throw error;
    const hint = `write (${sql})::${column.type} if that is meant`;
    throw new ForeshadowError(
      'MAP_INVALID',
      `map of "${column.name}": ${(error as Error).message}; ${hint}`,
      { column: column.name },
    );
  }
  await client.query('rollback to savepoint assignable');
}

const relationsOf = (source: CatalogTable, target: CatalogTable) => ({
  source: ident(source.schema, source.name),
  target: ident(target.schema, target.name),
});

/** The back map, parsed by PostgreSQL and found to look at one row only. */
export async function resolveBackMap(
  client: ClientBase,
  file: MigrationFile,
  source: CatalogTable,
  target: CatalogTable,
): Promise<{ back: { column: string; expression: string }[]; errors: ForeshadowError[] }> {
  const back: { column: string; expression: string }[] = [];
  const errors: ForeshadowError[] = [];
  for (const [column, text] of Object.entries(file.back)) {
    const of = source.columns.find((candidate) => candidate.name === column);
    try {
      if (!of)
        throw new ForeshadowError(
          'MAP_INVALID',
          `back map names "${column}", which ${file.source} does not have`,
          { column },
        );
      const relation = ident(target.schema, target.name);
      const resolved = await resolveExpression(client, column, text, {
        sql: fromOne(relation, 't'),
        oid: target.oid,
      });
      const expression = `(${resolved.sql})::${of.type}`;
      await requireOfRows(client, column, expression, relationsOf(source, target));
      back.push({ column, expression });
    } catch (error) {
      if (!(error instanceof ForeshadowError)) throw error;
      errors.push(error);
    }
  }
  return { back, errors };
}

/** The invariants, SQL booleans over a source row s and its target row t, and nothing else. */
export async function resolveInvariants(
  client: ClientBase,
  file: MigrationFile,
  source: CatalogTable,
  target: CatalogTable,
): Promise<{ invariants: { name: string; sql: string }[]; errors: ForeshadowError[] }> {
  const invariants: { name: string; sql: string }[] = [];
  const errors: ForeshadowError[] = [];
  const sql = `${ident(source.schema, source.name)} as s cross join ${ident(target.schema, target.name)} as t`;
  for (const { name, sql: text } of file.invariants) {
    try {
      const resolved = await resolveExpression(client, `invariant ${name}`, text, { sql, oid: source.oid });
      if (resolved.typeOid !== 16)
        throw new ForeshadowError('MAP_INVALID', `invariant "${name}" is not a boolean`);
      await requireOfRows(client, `invariant ${name}`, resolved.sql, relationsOf(source, target));
      invariants.push({ name, sql: resolved.sql });
    } catch (error) {
      if (!(error instanceof ForeshadowError)) throw error;
      errors.push(error);
    }
  }
  return { invariants, errors };
}
