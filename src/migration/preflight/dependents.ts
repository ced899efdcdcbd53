import type { ClientBase } from 'pg';
import { ForeshadowError } from '../../core/errors.ts';
import type { CatalogTable } from '../../db/catalog.ts';
import { boundObjects } from '../cutover/bound.queries.ts';
import { numberFaults } from '../cutover/carry-sequences.ts';
import { lostReplicaIdentity } from '../cutover/carry-settings.ts';
import { handovers } from '../cutover/handovers.ts';
import { type Move, takesName } from '../cutover/move.ts';
import { type Check, ok, refuse, warn } from './checks.ts';

const nameOf = (table: CatalogTable) => `${table.schema}.${table.name}`;

function refusal(table: CatalogTable, role: 'source' | 'target', what: string): ForeshadowError {
  const name = nameOf(table);
  return new ForeshadowError('DEPENDENT_REFUSED', `${role} ${name}: ${what}`, { table: name, object: what });
}

/** Publications that take the table in without naming it. */
async function widePublications(
  client: ClientBase,
  table: CatalogTable,
): Promise<{ name: string; all: boolean }[]> {
  const { rows } = await client.query<{ name: string; all: boolean }>(
    `select p.pubname as name, p.puballtables as all from pg_publication p
      where not exists (select 1 from pg_publication_rel r where r.prpubid = p.oid and r.prrelid = $3)
        and (p.puballtables or exists (
          select 1 from pg_publication_tables pt
           where pt.pubname = p.pubname and pt.schemaname = $1 and pt.tablename = $2))`,
    [table.schema, table.name, table.oid],
  );
  return rows;
}

/** What no table of a migration may be, whichever of the two it is. */
async function refusedTable(
  client: ClientBase,
  table: CatalogTable,
  mayBePartitioned = false,
): Promise<string[]> {
  const refused: string[] = [];
  const partitioned = mayBePartitioned && table.kind === 'p'; // what its partitions may be is asked elsewhere
  if ((table.kind !== 'r' && !partitioned) || table.isPartition)
    refused.push('is not a plain table (partitioned, partition, view or foreign)');
  if (table.persistence !== 'p') refused.push('is temporary or unlogged');
  const inherits = await client.query<{ other: string }>(
    `select case when inhrelid = $1 then inhparent else inhrelid end::regclass::text as other
       from pg_inherits where inhrelid = $1 or (inhparent = $1 and not $2)`,
    [table.oid, partitioned],
  );
  for (const row of inherits.rows) refused.push(`inheritance with ${row.other}`);
  const labels = await client.query(
    'select 1 from pg_seclabel where objoid = $1 and classoid = $2::regclass',
    [table.oid, 'pg_class'],
  );
  if (labels.rowCount) refused.push('it has a security label');
  return refused;
}

/**
 * Everything that is bound to the source, one line each: made anew at the swap, or refused by name.
 * Must run inside a transaction that the caller rolls back.
 */
export async function dependentsOfSource(
  client: ClientBase,
  source: CatalogTable,
  move: Move,
): Promise<Check[]> {
  const id = 'dependents of source';
  const refused = await refusedTable(client, source);
  const checks: Check[] = [];
  if (source.kind === 'r') {
    const found = await handovers(client, move);
    for (const { object, refused: reason, warning } of found) {
      if (reason !== null) refused.push(`${object} depends on it: ${reason}`);
      else if (warning !== null) checks.push(warn(id, `${object} goes along with the swap; ${warning}`));
      else checks.push(ok(id, `${object} goes along with the swap`));
    }
    const identity = await lostReplicaIdentity(client, move);
    if (identity !== null)
      refused.push(`its replica identity is index ${identity}, which the new table has no match for`);
    const numbers = await numberFaults(client, move);
    refused.push(...numbers.refused);
    if (numbers.behind.length)
      checks.push(
        warn(
          id,
          `numbers stay with the old table, since the new types cannot take them: ${numbers.behind.join(', ')}`,
          'After the write cutover the application must give these columns their values, or the target a default of its own.',
        ),
      );
  }
  for (const { name, all } of await widePublications(client, source)) {
    if (all)
      refused.push(
        `publication ${name} publishes it, and all tables: its subscribers would get our copy too`,
      );
    else if (!takesName(move))
      refused.push(`publication ${name} publishes it, and would go on with a table that nobody writes to`);
    else checks.push(ok(id, `publication ${name} follows the names in its schema`));
  }
  checks.push(...refused.map((what) => refuse(id, refusal(source, 'source', what))));
  if (!checks.length) checks.push(ok(id, 'nothing that the swap cannot carry'));
  return checks;
}

/** The target is empty and ours to fill: nobody else may look at it yet, or be set off by what is written to it. */
export async function dependentsOfTarget(client: ClientBase, target: CatalogTable): Promise<Check[]> {
  const id = 'dependents of target';
  const refused = await refusedTable(client, target, true);
  for (const { catalog, object } of await boundObjects(client, target.oid)) {
    // policies hold for others only, and statistics for nobody
    if (catalog === 'pg_policy' || catalog === 'pg_statistic_ext') continue;
    refused.push(
      `${object} depends on it: the swap gives it those of the source, and it must have none before`,
    );
  }
  for (const { name, all } of await widePublications(client, target))
    if (all)
      refused.push(
        `publication ${name} publishes it, and all tables: its subscribers would get our copy too`,
      );
  const checks = refused.map((what) => refuse(id, refusal(target, 'target', what)));
  return checks.length ? checks : [ok(id, 'nothing that the swap cannot carry')];
}
