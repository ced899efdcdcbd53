import type { ClientBase } from 'pg';
import { ident } from '../../db/ident.ts';
import { cannot, type Handover, handOver, lacks } from './handover.ts';
import { finalName, type Move, takesName } from './move.ts';

interface Membership {
  catalog: string;
  oid: number;
  object: string;
  publication: string;
  owned: boolean;
  listed: string[] | null;
  filter: string | null;
  columns: string[];
  identified: boolean;
}

/**
 * Publications that name the table. Until the swap the new one is in none of them, so that subscribers get each change
 * once; after it they see the same name. A publication of a whole schema follows the names by itself.
 */
export async function publicationHandovers(client: ClientBase, move: Move): Promise<Handover[]> {
  const { rows: version } = await client.query<{ parts: boolean }>(
    `select current_setting('server_version_num')::int >= 150000 as parts`,
  );
  // column lists and row filters came with PostgreSQL 15
  const parts = version[0]?.parts
    ? `(select array_agg(a.attname::text order by a.attnum) from unnest(r.prattrs::int2[]) n join pg_attribute a on a.attrelid = r.prrelid and a.attnum = n) as listed,
       pg_get_expr(r.prqual, r.prrelid) as filter`
    : 'null::text[] as listed, null as filter';
  const { rows } = await client.query<Membership>(
    `select 'pg_publication_rel' as catalog, r.oid::int8::float8 as oid,
            pg_describe_object('pg_publication_rel'::regclass, r.oid, 0) as object, p.pubname as publication,
            not (p.pubupdate or p.pubdelete) or exists (select from pg_index x where x.indrelid = $2 and x.indisprimary)
              or exists (select from pg_class c where c.oid in ($1, $2) and c.relreplident in ('f', 'i')) as identified,
            pg_has_role(p.pubowner, 'USAGE') as owned, ${parts},
            array(select a.attname::text from pg_depend d
                    join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
                   where d.classid = 'pg_publication_rel'::regclass and d.objid = r.oid
                     and d.refclassid = 'pg_class'::regclass and d.refobjid = $1 and d.refobjsubid > 0) as columns
       from pg_publication_rel r join pg_publication p on p.oid = r.prpubid
      where r.prrelid = $1 order by p.pubname`,
    [move.from.oid, move.to.oid],
  );
  return rows.map((member) => {
    const refused =
      lacks([...member.columns, ...(member.listed ?? [])], move.to.columns) ??
      (member.owned ? null : `this role must own publication ${member.publication}`) ??
      (member.identified ? null : 'the new table has neither a primary key nor a replica identity') ??
      (takesName(move)
        ? null
        : 'with finish "route" it would go on publishing a table that nobody writes to');
    return refused === null ? handOver(member, work(member, move)) : cannot(member, refused);
  });
}

function work({ publication, listed, filter }: Membership, move: Move) {
  const columns = listed ? ` (${listed.map((column) => ident(column)).join(', ')})` : '';
  const where = filter === null ? '' : ` where (${filter})`;
  const change = `alter publication ${ident(publication)}`;
  return {
    before: [`${change} drop table ${ident(move.origin.schema, move.origin.name)}`],
    after: [`${change} add table ${finalName(move)}${columns}${where}`],
  };
}
