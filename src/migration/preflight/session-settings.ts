import type { ClientBase } from 'pg';
import { ForeshadowError } from '../../core/errors.ts';
import { isNode, nodesOf, parseNodeTree, type TreeNode, typeOidOf } from './node-tree.ts';

interface Dependence {
  readonly setting: string;
  readonly instead: string;
}

const digits = { setting: 'extra_float_digits', instead: 'x::numeric::text' };
const coordinates = { ...digits, instead: 'its coordinates, each as numeric' };

/** Output functions of pg_catalog that follow a setting. Those that PostgreSQL does not call immutable matter in XML alone. */
const outputs: Readonly<Record<string, Dependence>> = {
  byteaout: { setting: 'bytea_output', instead: "encode(x, 'hex')" },
  float4out: digits,
  float8out: digits,
  point_out: coordinates,
  lseg_out: coordinates,
  path_out: coordinates,
  box_out: coordinates,
  poly_out: coordinates,
  line_out: coordinates,
  circle_out: coordinates,
  interval_out: { setting: 'IntervalStyle', instead: 'extract(epoch from x)' },
  timestamptz_out: { setting: 'TimeZone', instead: "x at time zone 'UTC'" },
};

/** Functions of pg_catalog that are called immutable, and follow a setting whatever they are given. */
const functions: Readonly<Record<string, Dependence & { readonly what: string }>> = {
  1199: {
    what: 'age(timestamptz, timestamptz)',
    setting: 'TimeZone',
    instead: "age(x at time zone 'UTC', y at time zone 'UTC')",
  },
  1282: {
    what: 'quote_ident(text)',
    setting: 'quote_all_identifiers',
    instead: `'"' || replace(x, '"', '""') || '"'`,
  },
};

/** Functions that make text of any type: `x || text`, `text || x`, quote_literal(x), quote_nullable(x). */
const printing = ['2003', '2004', '1285', '1290'];

/** The expressions whose text a node makes by their types' output functions. */
function printedBy({ tag, fields }: TreeNode): TreeNode[] {
  const calls = String(fields.get('funcid') ?? fields.get('opfuncid') ?? '');
  const taken =
    tag === 'COERCEVIAIO'
      ? [fields.get('arg')]
      : tag === 'XMLEXPR' || tag === 'JSONCONSTRUCTOREXPR' || printing.includes(calls)
        ? [fields.get('args'), fields.get('named_args')]
        : [];
  return taken.flat().filter((each) => isNode(each as TreeNode | undefined)) as TreeNode[];
}

/**
 * Immutable is not enough: the text of bytea, of floating point numbers and of shapes follows settings of the session, and
 * PostgreSQL calls their output functions immutable all the same. Capture and the overlay compute f in the application's
 * sessions, lanes in ours. Runs inside a transaction that the caller rolls back.
 * @param what whose expression it is, as messages say it
 * @throws ForeshadowError MAP_NOT_IMMUTABLE naming the setting and what to write instead
 */
export async function requireFreeOfSettings(
  client: ClientBase,
  what: { readonly column: string; readonly is: string },
  sql: string,
  from: string,
): Promise<void> {
  const nodes = [...nodesOf(parseNodeTree(await storedTree(client, sql, from)))];
  const printed = nodes.flatMap((node) => printedBy(node).map(typeOidOf));
  const called = nodes.map((node) => functions[String(node.fields.get('funcid'))]);
  const culprit = called.find((each) => each) ?? (await firstPrinted(client, printed));
  if (!culprit) return;
  const { setting, instead } = culprit;
  throw new ForeshadowError(
    'MAP_NOT_IMMUTABLE',
    `${what.is} is not the same in every session: ${culprit.what} depends on ${setting} (in ${sql}); write ${instead} instead`,
    { column: what.column, expression: sql, setting },
  );
}

async function storedTree(client: ClientBase, sql: string, from: string): Promise<string> {
  await client.query('savepoint stored_tree');
  await client.query(`create temp view foreshadow_stored as select (${sql}) as c from ${from}`);
  const { rows } = await client.query<{ tree: string }>(
    "select ev_action::text as tree from pg_rewrite where ev_class = 'pg_temp.foreshadow_stored'::regclass",
  );
  await client.query('rollback to savepoint stored_tree');
  return (rows[0] as { tree: string }).tree;
}

/** A domain has the output function of its base type. */
async function firstPrinted(
  client: ClientBase,
  types: readonly (number | null)[],
): Promise<(Dependence & { what: string }) | null> {
  if (!types.length) return null;
  const { rows } = await client.query<{ type: string; output: string }>(
    `select format_type(t.oid, null) as type, p.proname as output
       from pg_type t join pg_proc p on p.oid = t.typoutput and p.pronamespace = 'pg_catalog'::regnamespace
      where t.oid = any ($1::oid[]) and p.proname = any ($2::text[]) order by t.oid limit 1`,
    [types, Object.keys(outputs)],
  );
  const [found] = rows;
  return found ? { what: `the text of ${found.type}`, ...(outputs[found.output] as Dependence) } : null;
}
