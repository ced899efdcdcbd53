import type { ClientBase } from 'pg';
import { lacks } from '../cutover/handover.ts';
import type { Move } from '../cutover/move.ts';
import { type Check, ok, warn } from './checks.ts';

/** An index, check or default of the source, with the columns that it uses. */
interface Part {
  readonly what: string;
  readonly columns: string[];
  /** a value needs no more than the same value, in whichever type */
  readonly value: boolean;
}

/** Defaults only of columns that the target has, without one; what a column draws from a sequence is told elsewhere. */
async function partsOf(client: ClientBase, { from, to }: Move): Promise<Part[]> {
  const { rows } = await client.query<Part>(
    `select 'index ' || i.relname as what,
            array(select a.attname::text from pg_attribute a
                   where a.attrelid = x.indrelid and (a.attnum = any (x.indkey::int2[]) or exists (
                     select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = x.indexrelid
                        and d.refclassid = 'pg_class'::regclass and d.refobjid = x.indrelid and d.refobjsubid = a.attnum))
                     and a.attnum > 0) as columns, false as value
       from pg_index x join pg_class i on i.oid = x.indexrelid
      where x.indrelid = $1 and x.indisvalid and not x.indisprimary and not x.indisexclusion
     union all
     select 'check ' || c.conname, array(select a.attname::text from pg_attribute a where a.attrelid = $1 and a.attnum = any (c.conkey)), false
       from pg_constraint c where c.conrelid = $1 and c.contype = 'c'
     union all
     select 'default of ' || a.attname, array[a.attname::text], true
       from pg_attrdef d join pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum
       join pg_attribute b on b.attrelid = $2 and b.attname = a.attname and not b.attisdropped and not b.atthasdef and b.attidentity = ''
      where d.adrelid = $1 and a.attgenerated = '' and pg_get_serial_sequence($1::oid::regclass::text, a.attname) is null
     order by 1`,
    [from.oid, to.oid],
  );
  return rows;
}

/**
 * What belongs to the source itself and is bound to nobody else: it goes along by name where the map keeps its columns as they
 * are, unless the target has its own. The rest stays with the old table, which is no reason to refuse: a new format has a
 * shape of its own.
 */
export async function partsOfSource(client: ClientBase, move: Move): Promise<Check[]> {
  const id = 'parts of source';
  const along: string[] = [];
  const behind: string[] = [];
  for (const { what, columns, value } of await partsOf(client, move)) {
    const known = value ? move.same : move.kept;
    const changed = columns.filter((column) => !known.includes(column));
    if (lacks(columns, known) === null) along.push(what);
    else behind.push(`${what} (over ${changed.join(', ')})`);
  }
  const checks: Check[] = [];
  if (along.length) checks.push(ok(id, `go along where the target has none of its own: ${along.join(', ')}`));
  if (behind.length) {
    checks.push(
      warn(
        id,
        `stay with the old table, since the map changes their columns: ${behind.join(', ')}`,
        'Give the target what it needs in their place before it is filled.',
      ),
    );
  }
  return checks;
}
