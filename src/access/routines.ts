import { as, lastName, type Node, nameOf, walk } from './ast.ts';

/**
 * What is known of functions and procedures. The statements inside them are not logged, so a call of one that touches
 * the table is an unresolvable use of it.
 */
export type Routines =
  /** from the catalogue: the names of those whose bodies may touch the table */
  | { readonly known: ReadonlySet<string> }
  /** no catalogue was at hand: every procedure and block may, and of functions those that a statement only calls */
  | null;

interface Called {
  readonly table: string;
  readonly routines: Routines;
}

/** Whether a statement calls something whose statements may touch the table. */
export function callsRoutine(statement: Node, { table, routines }: Called): boolean {
  const block = as(statement, 'DoStmt');
  if (block) {
    const body = (block.args ?? []).map((node) => nameOf(as(node, 'DefElem')?.arg) ?? '').join('\n');
    if (routines === null) return true;
    return mentions(body, table) || [...routines.known].some((name) => mentions(body, name));
  }
  if (as(statement, 'CallStmt') && routines === null) return true;
  if (routines === null) return isBareCall(statement);
  if (routines.known.size === 0) return false;
  let found = false;
  walk(statement, (kind, body) => {
    const names = kind === 'FuncCall' || (kind as string) === 'funccall' ? body : undefined;
    const name = lastName((names as { funcname?: Node[] } | undefined)?.funcname);
    if (name !== undefined && routines.known.has(name)) found = true;
    return false;
  });
  return found;
}

/** A word of the text, quoted or not, in any case. */
export function mentions(text: string, name: string): boolean {
  const escaped = name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  return new RegExp(`(?<![\\w$])${escaped}(?![\\w$])`, 'i').test(text);
}

// functions of the server that are called by themselves; names with these beginnings are, too
const builtIn =
  /^(pg_|json|array_|string_|regexp_|to_|has_|inet_|gen_random_|lo_|txid_|current|date_|make_|num_|obj_|col_|format|quote_|uuid|age$|clock_timestamp$|now$|version$|set_config$|setval$|nextval$|currval$|lastval$|setseed$|random$|generate_series$|unnest$|count$|sum$|min$|max$|avg$|coalesce$|greatest$|least$|length$|lower$|upper$|md5$|sha\d+$|concat|substr|trim|btrim|round$|floor$|ceil|abs$|mod$|power$|sqrt$|exists$|row_number$|timezone$|extract$|overlay$|position$|encode$|decode$|transaction_timestamp$|statement_timestamp$|timeofday$|session_user$|xml)/;

/** `select f(1)` and `select * from f(1)`: nothing but a call, of a function that is not one of the server's. */
function isBareCall(statement: Node): boolean {
  const select = as(statement, 'SelectStmt');
  if (!select) return false;
  const from = select.fromClause ?? [];
  const calls =
    from.length > 0
      ? from.map((item) => as(as(item, 'RangeFunction')?.functions?.[0], 'List')?.items?.[0])
      : (select.targetList ?? []).map((node) => as(node, 'ResTarget')?.val);
  return calls.some((node) => {
    const names = as(node, 'FuncCall')?.funcname;
    const schema = names && names.length > 1 ? nameOf(names[0]) : undefined;
    const name = lastName(names);
    return name !== undefined && schema !== 'pg_catalog' && (schema !== undefined || !builtIn.test(name));
  });
}
