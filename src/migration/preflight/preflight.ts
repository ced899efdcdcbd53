import type { ClientBase, Pool } from 'pg';
import type { MigrationFile } from '../../config/migration-file.ts';
import { ForeshadowError } from '../../core/errors.ts';
import type { MappedColumn, PhysicalNames, TablePlan } from '../../core/plan.ts';
import { type CatalogTable, keyIndexes, readTable } from '../../db/catalog.ts';
import { ident, parseQualifiedName } from '../../db/ident.ts';
import { withClient } from '../../db/tx.ts';
import { captureTrigger } from '../../sync/capture.ts';
import { forwardMove } from '../cutover/move.ts';
import { partialKeyColumns } from '../key-map.ts';
import { type Check, firstRefusal, ok, refuse, warn } from './checks.ts';
import { dependentsOfSource, dependentsOfTarget } from './dependents.ts';
import { unusableInKeys } from './key-types.ts';
import { keyColumn, sourceKeyOf, targetKeyOf } from './keys.ts';
import { lostUniqueIndexes, refusedPartitions } from './partitions.ts';
import { partsOfSource } from './parts.ts';
import { preparedStatements } from './prepared.ts';
import { rehearseRowMap } from './rehearsal.ts';
import { generatedColumns, resolveBackMap, resolveInvariants, resolveRowMap } from './row-map.ts';
import { checkSpace } from './space.ts';
import { tablespaceChecks } from './tablespaces.ts';
import { type ReversePlan, resolveWayBack, wholeNumbers } from './way-back.ts';

/** A plan before it has a number; {@link physicalPlan} gives it one. */
export type DraftPlan = Omit<TablePlan, 'migrationId' | 'names' | 'wayBack'> & {
  readonly wayBack: ReversePlan | null;
};

export interface Preflight {
  readonly checks: readonly Check[];
  readonly error: ForeshadowError | null;
  /** present when nothing was refused */
  readonly draft: DraftPlan | null;
  readonly source: CatalogTable | null;
  readonly target: CatalogTable | null;
}

const begin = 'begin isolation level read committed read write';

/** Another transaction; what the last one did is undone. */
async function anew(client: ClientBase): Promise<void> {
  await client.query('rollback');
  await client.query(begin);
}

/**
 * Looks at both tables, the row map, everything bound to them, rights and space. Leaves the database as it found it:
 * all of it happens in transactions that are rolled back.
 */
export async function preflight(
  pool: Pool,
  file: MigrationFile,
  options: { diskFree?: number } = {},
): Promise<Preflight> {
  return withClient(pool, async (client) => {
    await client.query(begin);
    try {
      return await examine(client, file, options);
    } finally {
      await client.query('rollback').catch(() => undefined);
    }
  });
}

async function examine(
  client: ClientBase,
  file: MigrationFile,
  options: { diskFree?: number },
): Promise<Preflight> {
  const checks: Check[] = [];
  const sourceName = parseQualifiedName(file.source);
  const targetName = parseQualifiedName(file.target);
  const source = await readTable(client, sourceName.schema, sourceName.name);
  const target = await readTable(client, targetName.schema, targetName.name);
  if (!source)
    checks.push(refuse('source', new ForeshadowError('SOURCE_MISSING', `there is no table ${file.source}`)));
  if (!target)
    checks.push(refuse('target', new ForeshadowError('TARGET_MISSING', `there is no table ${file.target}`)));
  if (!source || !target) return { checks, error: firstRefusal(checks), draft: null, source, target };
  if (source.oid === target.oid) {
    checks.push(
      refuse('target', new ForeshadowError('BAD_MIGRATION_FILE', 'source and target are the same table')),
    );
    return { checks, error: firstRefusal(checks), draft: null, source, target };
  }
  checks.push(ok('source', `${file.source}: about ${Math.max(0, source.estimatedRows)} rows`));
  if (await isCaptured(client, source)) {
    const message = `another migration works on ${file.source}, or can still be rolled back; abort or finalize it first`;
    checks.push(refuse('source', new ForeshadowError('CONFLICT', message)));
  }

  for (const what of await refusedPartitions(client, target, source))
    checks.push(
      refuse(
        'partitions',
        new ForeshadowError('DEPENDENT_REFUSED', `target ${file.target}: ${what}`, { object: what }),
      ),
    );
  checks.push(...(await privileges(client, source, target)));
  // Without these rights the questions below cannot even be asked.
  if (checks.some((check) => check.code === 'PRIVILEGE'))
    return { checks, error: firstRefusal(checks), draft: null, source, target };

  const map = await resolveRowMap(client, file, source, target);
  const final = file.cutover.finish === 'swap' ? source : target;
  const move = forwardMove(tablesOf(source, target, map.columns), source, final);
  checks.push(...(await dependentsOfSource(client, source, move)));
  // it has tried things on a twin: its transaction id would keep dead rows alive while the rest is asked
  await anew(client);
  checks.push(...(await dependentsOfTarget(client, target)));
  checks.push(...(await partsOfSource(client, move)));
  checks.push(...(await tablespaceChecks(client, source, target)));

  const full = await client.query(`select 1 from ${ident(target.schema, target.name)} limit 1`);
  if (full.rowCount)
    checks.push(refuse('target', new ForeshadowError('TARGET_NOT_EMPTY', `${file.target} has rows already`)));
  else checks.push(ok('target', `${file.target} is empty`));
  for (const name of await namesTaken(client, source, target)) {
    const message = `our schema already holds an object called ${name}; rename it, or what is called so in ${file.target}`;
    checks.push(refuse('target', new ForeshadowError('CONFLICT', message)));
  }

  const sourceKey = sourceKeyOf(
    file,
    await keyIndexes(client, source.oid),
    await unusableInKeys(client, source),
  );
  if (sourceKey instanceof ForeshadowError) checks.push(refuse('key', sourceKey));
  else checks.push(ok('key', `${sourceKey.name} (${sourceKey.columns.join(', ')})`));

  const back = await resolveBackMap(client, file, source, target);
  const invariants = await resolveInvariants(client, file, source, target);
  for (const error of [...map.errors, ...back.errors, ...invariants.errors])
    checks.push(refuse('map', error));
  if (!map.errors.length) checks.push(ok('map', `${map.columns.length} columns, every expression immutable`));
  const dropped = source.columns.filter(
    (column) => !map.columns.some((mapped) => mapped.reads.includes(column.name)),
  );
  if (dropped.length)
    checks.push(
      warn(
        'map',
        `source columns that nothing in the target keeps: ${dropped.map((c) => c.name).join(', ')}`,
      ),
    );

  for (const column of target.columns) {
    const numbered = source.columns.some((same) => same.name === column.name && same.identity);
    if (!numbered || column.notNull || column.defaultSql !== null || column.generated) continue;
    if (!wholeNumbers.includes(column.type)) continue; // no identity is made of it
    const message = `target column "${column.name}" must be NOT NULL: at the swap it becomes an identity, as it is in the source`;
    checks.push(refuse('map', new ForeshadowError('MAP_INVALID', message, { column: column.name })));
  }

  let draft: DraftPlan | null = null;
  // what was refused is not run either
  if (!(sourceKey instanceof ForeshadowError) && !map.errors.length && !back.errors.length) {
    const targetKey = targetKeyOf(
      file,
      map.columns,
      await keyIndexes(client, target.oid),
      source,
      sourceKey.columns,
      await unusableInKeys(client, target),
    );
    if (targetKey instanceof ForeshadowError) {
      checks.push(refuse('target key', targetKey));
    } else {
      checks.push(ok('target key', targetKey.map((column) => `${column.name} = ${column.value}`).join(', ')));
      const keyOfSource = sourceKey.columns.map((name) => keyColumn(source, name));
      for (const column of partialKeyColumns({ sourceKey: keyOfSource, targetKey }))
        checks.push(partialKey(file, column));
      const lost = await lostUniqueIndexes(client, source, target, sourceKey.columns);
      if (lost.length)
        checks.push(
          warn(
            'partitions',
            `unique indexes that nothing stands for after the swap: ${lost.join(', ')}`,
            'A partitioned table is unique only by columns that hold its partition key. Drop them, or keep the table whole.',
          ),
        );
      // it writes, and its transaction id would keep dead rows alive as long as all the other questions take
      await anew(client);
      checks.push(await rehearsal(client, source, target, sourceKey.columns, map.columns));
      await anew(client);
      const forward = { name: file.name, columns: map.columns, sourceKey: keyOfSource, targetKey };
      const { wayBack, reasons } = await resolveWayBack(client, file, source, target, {
        ...forward,
        seed: file.shadow.seed,
      });
      checks.push(sayWayBack(reasons));
      await anew(client);
      draft = {
        name: file.name,
        ...tablesOf(source, target, map.columns),
        sourceKey: keyOfSource,
        targetKey,
        generated: generatedColumns(target),
        back: back.back,
        invariants: invariants.invariants,
        seed: file.shadow.seed,
        wayBack,
        noWayBack: reasons,
      };
    }
  }
  const { group } = file.predict;
  if (group !== undefined && !source.columns.some(({ name }) => name === group)) {
    const message = `predict.group names "${group}", which is no column of ${file.source}`;
    checks.push(refuse('predict', new ForeshadowError('BAD_MIGRATION_FILE', message)));
  }
  const { createdAt, updatedAt } = file.signals;
  for (const [name, column] of Object.entries({ createdAt, updatedAt })) {
    if (column === undefined) continue;
    const known = source.columns.find((candidate) => candidate.name === column);
    if (known?.category === 'D') continue;
    const message = `signals.${name} names "${column}", which is no column of ${file.source} with a time`;
    checks.push(refuse('signals', new ForeshadowError('BAD_MIGRATION_FILE', message)));
  }
  checks.push(preparedStatements(file, source, target));
  const sound = map.errors.length ? null : map.columns;
  checks.push(...(await checkSpace(client, source, target, sound, options.diskFree)));
  const error = firstRefusal(checks);
  return { checks, error, draft: error ? null : draft, source, target };
}

/** What our schema will have to take in, and has already: T with its indexes and sequences, and S as its old self. */
async function namesTaken(client: ClientBase, source: CatalogTable, target: CatalogTable): Promise<string[]> {
  const { rows } = await client.query<{ name: string }>(
    `select relname as name from pg_class where relnamespace = to_regnamespace('foreshadow') and relname in (
       select $2 union all select $3 union all
       select relname from pg_class where oid in (
         select indexrelid from pg_index where indrelid = $1
         union all
         select objid from pg_depend where classid = 'pg_class'::regclass and refclassid = 'pg_class'::regclass
            and refobjid = $1 and deptype in ('a', 'i'))) order by 1`,
    [target.oid, target.name, `${source.name.slice(0, 59)}_old`],
  );
  return rows.map((row) => row.name);
}

async function isCaptured(client: ClientBase, { oid }: CatalogTable): Promise<boolean> {
  const { rowCount } = await client.query('select 1 from pg_trigger where tgrelid = $1 and tgname = $2', [
    oid,
    captureTrigger,
  ]);
  return rowCount !== 0;
}

const tablesOf = (source: CatalogTable, target: CatalogTable, columns: readonly MappedColumn[]) => ({
  sourceOid: source.oid,
  targetOid: target.oid,
  sourceColumns: source.columns.map(({ name, type, notNull, category }) => ({
    name,
    type,
    notNull,
    category,
  })),
  columns,
  targetOrder: target.columns.map((column) => column.name),
});

/** Whether the write cutover can be taken back, said before anything begins. */
function sayWayBack(reasons: readonly string[]): Check {
  if (!reasons.length)
    return ok(
      'way back',
      'the write cutover can be rolled back until it is finalized: the old table is kept in step',
    );
  return warn(
    'way back',
    `there is no way back after the write cutover: ${reasons.join('; ')}`,
    'Complete "back" if you want to be able to roll back; without it the write cutover is final.',
  );
}

/** From capture on, S cannot take a key that the map fails on: its log row, and our index on S, need the mapped key. */
function partialKey(file: MigrationFile, column: { name: string; value: string }): Check {
  return warn(
    'target key',
    `some keys may have no ${column.name} = ${column.value}`,
    `While the migration runs, writes to ${file.source} with a key that the expression fails on will fail with its error (${file.target} could not hold them either); a key for which it is NULL stops the migration.`,
  );
}

async function rehearsal(
  client: ClientBase,
  source: CatalogTable,
  target: CatalogTable,
  key: readonly string[],
  columns: readonly MappedColumn[],
): Promise<Check> {
  try {
    const { tried, sampled } = await rehearseRowMap(client, source, target, key, columns);
    return ok('rehearsal', `the map succeeds on ${tried} rows${sampled ? ' (a block sample)' : ''}`);
  } catch (error) {
    if (error instanceof ForeshadowError) return refuse('rehearsal', error);
    throw error;
  }
}

async function privileges(client: ClientBase, source: CatalogTable, target: CatalogTable): Promise<Check[]> {
  const { rows } = await client.query<{ what: string; granted: boolean }>(
    `select 'ownership of ' || c.oid::regclass as what, pg_has_role(c.relowner, 'USAGE') as granted
       from pg_class c where c.oid = any($1::oid[])
     union all
     select 'CREATE on schema ' || quote_ident(n.nspname), has_schema_privilege(n.oid, 'CREATE')
       from pg_namespace n where n.nspname = any($2::text[])
     union all
     select 'sight of all rows of ' || c.oid::regclass || ': row security is forced on it, and holds for this role too',
            not row_security_active(c.oid)
       from pg_class c where c.oid = any($1::oid[])
     union all
     select 'pg_read_all_stats, without which the swap cannot see whose snapshots are older than it',
            pg_has_role('pg_read_all_stats', 'USAGE')`,
    [[source.oid, target.oid], [...new Set([source.schema, target.schema])]],
  );
  const missing = rows.filter((row) => !row.granted);
  if (!missing.length)
    return [ok('privileges', 'owner of both tables, may create in their schemas, sees all sessions')];
  return missing.map((row) => refuse('privileges', new ForeshadowError('PRIVILEGE', `missing: ${row.what}`)));
}

/** Gives a draft its number and with it the names of its tables in our schema. */
export function physicalPlan(
  draft: DraftPlan,
  migrationId: number,
  source: CatalogTable,
  target: CatalogTable,
): TablePlan {
  const ours = (table: string) => ident('foreshadow', `${table}_${migrationId}`);
  const names: PhysicalNames = {
    source: ident(source.schema, source.name),
    target: ident('foreshadow', target.name),
    overlay: ident(target.schema, target.name),
    keyLog: ours('key_log'),
    changeEvent: ours('change_event'),
    member: ours('member'),
    range: ours('range'),
    overlayGate: ours('overlay_gate'),
  };
  const { wayBack } = draft;
  return { ...draft, migrationId, names, wayBack: wayBack && reversed(wayBack, migrationId, names) };
}

/** Until the swap S and T stand where the way forward has them. */
function reversed(wayBack: ReversePlan, migrationId: number, forward: PhysicalNames): TablePlan {
  const ours = (table: string) => ident('foreshadow', `${table}_${migrationId}_back`);
  const names: PhysicalNames = {
    source: forward.target,
    target: forward.source,
    overlay: forward.overlay,
    keyLog: ours('key_log'),
    changeEvent: ours('change_event'),
    member: ours('member'),
    range: ours('range'),
    overlayGate: ours('overlay_gate'),
  };
  return { ...wayBack, migrationId, names };
}
