import type { ClientBase } from 'pg';
import { ident } from '../../db/ident.ts';
import { boundObjects } from './bound.queries.ts';
import { cannot, type Handover, handOver } from './handover.ts';
import { type Move, takesName } from './move.ts';
import { type Reader, readers, viewExtras } from './views.queries.ts';

/**
 * Views, and functions with a SQL body, that read the table: made anew over the new one from the text that PostgreSQL keeps
 * of them. A view whose columns keep their types is replaced, which leaves all that hangs on it alone. Where types change it
 * has to be dropped and created, and so has every view that reads it.
 *
 * Whether the text fits the new table, and what it gives, PostgreSQL itself says: each is tried over an empty twin of the
 * new table that goes by the old one's name. Must run in a transaction; leaves nothing in it.
 */
export async function viewHandovers(client: ClientBase, move: Move): Promise<Handover[]> {
  const found = await readers(client, move);
  if (!found.length) return [];
  if (!takesName(move)) {
    const direct = found.filter(({ reads }) => reads.includes(move.from.oid));
    return direct.map((reader) =>
      cannot(reader, 'with finish "route" it would go on reading a table that nobody writes to'),
    );
  }
  await client.query('savepoint views');
  try {
    await client.query(
      `create temp table ${ident(move.origin.name)} (like ${await nameOf(client, move.to.oid)} including all)`,
    );
    return await rehearse(client, found, move);
  } finally {
    await client.query('rollback to savepoint views');
  }
}

async function nameOf(client: ClientBase, oid: number): Promise<string> {
  const { rows } = await client.query<{ name: string }>('select $1::oid::regclass::text as name', [oid]);
  return rows[0]?.name as string;
}

type Fate = 'replaced' | 'created' | 'refused';

async function rehearse(client: ClientBase, found: readonly Reader[], move: Move): Promise<Handover[]> {
  const fates = new Map<number, Fate>();
  const handovers: Handover[] = [];
  for (const reader of found) {
    const created = reader.reads.filter((oid) => fates.get(oid) === 'created');
    const refusedBelow = reader.reads.some((oid) => fates.get(oid) === 'refused');
    if (!reader.reads.includes(move.from.oid) && !created.length && !refusedBelow) continue;
    const tried = await attempt(client, reader, created.length > 0, refusedBelow);
    fates.set(reader.relation, tried.refused === null ? tried.fate : 'refused');
    handovers.push(
      tried.refused === null
        ? handOver(reader, await work(client, reader, tried.fate, created.length > 0))
        : cannot(reader, tried.refused),
    );
  }
  return handovers;
}

async function attempt(
  client: ClientBase,
  reader: Reader,
  onCreated: boolean,
  refusedBelow: boolean,
): Promise<{ fate: Exclude<Fate, 'refused'>; refused: string | null }> {
  const no = (refused: string) => ({ fate: 'replaced' as const, refused });
  if (refusedBelow) return no('it reads a view that is refused');
  if (reader.kind === 'm')
    return no('a materialized view cannot be made anew without reading the whole table under the lock');
  if (!reader.owned) return no(`it is to be made anew, for which this role must be a member of its owner`);
  if (reader.row_type) return no('it uses the row type of the table');
  if (!reader.visible) return no('another relation of its name, or of the table’s, comes before it');
  if (reader.kind === 'f' && onCreated)
    return no('it reads a view that must be dropped, since types of its columns change');
  await client.query('savepoint reader');
  const path = `select set_config('search_path', $1, true)`;
  try {
    await client.query(path, [reader.path]);
    await client.query(
      reader.kind === 'f' ? reader.short : `create temp view ${ident(reader.name)} as ${reader.short}`,
    );
    await client.query(path, ['pg_catalog']);
  } catch (error) {
    const code = (error as { code?: string }).code ?? '';
    if (!code.startsWith('42') && !code.startsWith('0A')) throw error;
    await client.query('rollback to savepoint reader');
    return no(`over the new table it fails: ${(error as Error).message}`);
  }
  if (reader.kind === 'f') return { fate: 'replaced', refused: null };
  const { rows } = await client.query<{ same: boolean }>(
    `select array(select row(attname, atttypid, atttypmod, attcollation)::text from pg_attribute
                   where attrelid = $1 and attnum > 0 order by attnum)
          = array(select row(attname, atttypid, atttypmod, attcollation)::text from pg_attribute
                   where attrelid = to_regclass('pg_temp.' || quote_ident($2)) and attnum > 0 order by attnum) as same`,
    [reader.relation, reader.name],
  );
  if (rows[0]?.same) return { fate: 'replaced', refused: null };
  const stuck = await stuckOn(client, reader);
  return stuck === null ? { fate: 'created', refused: null } : no(stuck);
}

/** What would be lost if the view were dropped and created: all but views, functions (tried in their turn) and triggers. */
async function stuckOn(client: ClientBase, reader: Reader): Promise<string | null> {
  if (reader.rules.length) return `types of its columns change, and rule ${reader.rules[0]} depends on it`;
  for (const bound of await boundObjects(client, reader.relation)) {
    const known = ['pg_rewrite', 'pg_proc', 'pg_trigger'].includes(bound.catalog) && !bound.by_type;
    if (!known) return `types of its columns change, and ${bound.object} depends on it`;
  }
  return null;
}

async function work(client: ClientBase, reader: Reader, fate: Fate, onCreated: boolean) {
  const { qualified, definition, options, kind } = reader;
  if (kind === 'f') return { after: [definition] };
  const view = `view ${qualified}${options ? ` with (${options})` : ''} as ${definition}`;
  const views = [{ name: qualified, owner: reader.owner }];
  if (fate === 'replaced') {
    // It lets go of views that are dropped by reading nothing for the moment.
    const before = onCreated ? [`create or replace view ${qualified} as select ${reader.stub}`] : [];
    return { before, after: [`create or replace ${view}`], views };
  }
  return {
    before: [`drop view ${qualified}`],
    after: [`create ${view}`, ...(await viewExtras(client, reader))],
    views,
  };
}
