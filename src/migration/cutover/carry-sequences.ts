import type { ClientBase } from 'pg';
import { ident, literal } from '../../db/ident.ts';
import { prepared } from '../../db/prepared.ts';
import { finalName, type Move } from './move.ts';

interface OwnedSequence {
  column: string;
  sequence: string;
  identity: 'always' | 'by default' | null;
  /** options of an identity like it, over the new table's type */
  options: string;
  target: 'identity' | 'own sequence' | 'same sequence' | 'other default' | 'none' | 'unfit' | 'missing';
  /** the sequence of the new table's column, and what it may give out */
  target_sequence: string | null;
  lowest: string | null;
  highest: string | null;
  target_type: string | null;
}

const limitSql = (type: string) =>
  `case ${type} when 'int2'::regtype then 32767 when 'int4'::regtype then 2147483647 else 9223372036854775807 end`;

/** All but the limits that the old type set: a wider one has others. */
const optionsSql = `concat_ws(' ', 'start with ' || q.seqstart, 'increment by ' || q.seqincrement, 'cache ' || q.seqcache,
  case when q.seqmax <> case when q.seqincrement > 0 then m.old else -1 end then 'maxvalue ' || least(q.seqmax, m.new) end,
  case when q.seqmin <> case when q.seqincrement > 0 then 1 else -m.old - 1 end then 'minvalue ' || greatest(q.seqmin, -m.new - 1) end,
  case when q.seqcycle then 'cycle' end)`;

async function ownedSequences(client: ClientBase, move: Move): Promise<OwnedSequence[]> {
  const { rows } = await client.query<OwnedSequence>(
    prepared(
      `select a.attname as column, s.oid::regclass::text as sequence, ${optionsSql} as options,
            case when d.deptype = 'i' then case a.attidentity when 'a' then 'always' else 'by default' end end as identity,
            case when b.attname is null then 'missing' when b.attidentity <> '' then 'identity'
                 when own.name is not null then 'own sequence'
                 when uses.sequence and fits.type then 'same sequence'
                 when b.atthasdef and uses.sequence is null then 'other default'
                 when fits.type then 'none' else 'unfit' end as target,
            own.name as target_sequence, t.seqmin::text as lowest, t.seqmax::text as highest,
            format_type(b.atttypid, b.atttypmod) as target_type
       from pg_depend d
       join pg_class s on s.oid = d.objid and s.relkind = 'S'
       join pg_sequence q on q.seqrelid = s.oid
       join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
       left join pg_attribute b on b.attrelid = $2 and b.attname = a.attname and not b.attisdropped
       left join pg_type y on y.oid = b.atttypid
       cross join lateral (select ${limitSql('q.seqtypid')} as old, ${limitSql('b.atttypid')} as new) m
       cross join lateral (select case d.deptype when 'i' then y.oid in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
                                       else y.typcategory in ('N', 'S') end as type) fits
       left join lateral (select pg_get_serial_sequence($2::oid::regclass::text, b.attname) as name where b.attname is not null) own on true
       left join pg_sequence t on t.seqrelid = own.name::regclass
       left join lateral (
         select true as sequence from pg_attrdef f join pg_depend u on u.classid = 'pg_attrdef'::regclass and u.objid = f.oid
          where f.adrelid = $2 and f.adnum = b.attnum and u.refclassid = 'pg_class'::regclass and u.refobjid = s.oid) uses on true
      where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass and d.refobjid = $1
        and d.deptype in ('a', 'i')
      order by a.attnum`,
      [move.from.oid, move.to.oid],
    ),
  );
  return rows;
}

/**
 * Numbers go on where the old table's sequence stands, never from max(key): that would give out the numbers of deleted
 * rows again. A serial's sequence moves along when the new table has none of its own; an identity cannot be moved, so one
 * like it is made, in the same state. A table that comes back is given no numbering that it never had. To be read under
 * the lock that keeps writers out.
 * @returns SQL to run before the old table leaves its schema, and after the new one has taken its place and its owner
 */
export async function sequencesSql(
  client: ClientBase,
  move: Move,
): Promise<{ before: string[]; after: string[] }> {
  const target = finalName(move);
  const before: string[] = [];
  const after: string[] = [];
  for (const row of await ownedSequences(client, move)) {
    const { sequence, target_sequence: own } = row;
    if (row.target === 'none' && !move.fresh) continue;
    const name = `${target}.${ident(row.column)}`;
    const column = `alter table ${target} alter column ${ident(row.column)}`;
    const { next, last, called } = await stateOf(client, sequence);
    if (row.target === 'identity') after.push(`${column} restart with ${next}`);
    else if (row.target === 'own sequence') {
      before.push(`alter sequence ${own} restart with ${next}`);
      before.push(...(await sequenceGrants(client, sequence, own as string)));
    } else if (goesAlong(row)) {
      // The new table may draw from it already, made LIKE the old one with its defaults.
      before.push(`alter sequence ${sequence} owned by none`);
      if (row.target === 'none') after.push(`${column} set default nextval(${literal(sequence)}::regclass)`);
      after.push(`alter sequence ${sequence} owned by ${name}`);
    } else if (row.target === 'same sequence' || row.target === 'none') {
      if (row.target === 'same sequence') after.push(`${column} drop default`);
      after.push(
        `${column} add generated ${row.identity} as identity (${row.options})`,
        `select pg_catalog.setval(pg_catalog.pg_get_serial_sequence(${literal(target)}, ${literal(row.column)}), ${last}, ${called})`,
      );
    }
  }
  return { before, after };
}

/** The sequence itself becomes that of the new table. */
const goesAlong = ({ identity, target }: OwnedSequence) =>
  identity === null && (target === 'none' || target === 'same sequence');

/** What of this the swap could not do, and the columns whose numbers do not go along. */
export async function numberFaults(
  client: ClientBase,
  move: Move,
): Promise<{ refused: string[]; behind: string[] }> {
  const refused: string[] = [];
  const found = await ownedSequences(client, move);
  for (const row of found) {
    const { column, sequence, target_sequence: own, lowest, highest } = row;
    const to = `${move.final.schema}.${move.final.name}`;
    if (goesAlong(row) && move.origin.schema !== move.final.schema)
      refused.push(
        `sequence ${sequence} cannot go along, since a sequence stays in the schema of its table; give "${column}" of ${to} an identity or a sequence of its own`,
      );
    if (own === null || lowest === null || highest === null) continue;
    const { next } = await stateOf(client, sequence);
    if (BigInt(next) < BigInt(lowest) || BigInt(next) > BigInt(highest))
      refused.push(
        `sequence ${sequence} stands at ${next}, and ${own} of the target goes from ${lowest} to ${highest}`,
      );
  }
  const unfit = found.filter(({ target }) => target === 'unfit');
  return { refused, behind: unfit.map((row) => `"${row.column}" (${row.target_type})`) };
}

interface State {
  next: string;
  last: string;
  called: boolean;
}

async function stateOf(client: ClientBase, sequence: string): Promise<State> {
  const { rows } = await client.query<State>(
    `select (case when v.is_called then v.last_value + s.seqincrement else v.last_value end)::text as next,
            v.last_value::text as last, v.is_called as called
       from ${sequence} v, pg_sequence s where s.seqrelid = $1::regclass`,
    [sequence],
  );
  return rows[0] as State;
}

/** Whoever draws numbers from the old sequence may draw them from the new one. */
async function sequenceGrants(client: ClientBase, from: string, to: string): Promise<string[]> {
  const { rows } = await client.query<{ sql: string }>(
    `select format('grant %s on sequence %s to %s%s', g.privilege_type, $2::text,
              case g.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(g.grantee)) end,
              case when g.is_grantable then ' with grant option' else '' end) as sql
       from pg_class c, aclexplode(c.relacl) g where c.oid = $1::regclass and g.grantee <> c.relowner`,
    [from, to],
  );
  return rows.map((row) => row.sql);
}
