import { parseSync, type SelectStmt } from 'libpg-query';
import { as } from './ast.ts';

/** A view as the catalogue tells it, every name in its definition qualified. */
export interface ViewDefinition {
  readonly schema: string;
  readonly name: string;
  /** as pg_get_viewdef prints it */
  readonly definition: string;
}

export interface View {
  readonly schema: string;
  readonly name: string;
  readonly query: SelectStmt;
}

/** Parses the definitions; one that cannot be parsed is left out. */
export function viewsOf(definitions: readonly ViewDefinition[]): View[] {
  return definitions.flatMap(({ schema, name, definition }) => {
    try {
      const query = as(parseSync(definition).stmts?.[0]?.stmt, 'SelectStmt');
      if (!query) return [];
      forgetPlaces(query);
      return [{ schema, name, query }];
    } catch {
      return [];
    }
  });
}

/** Constants of the view stand in its own text, not in the statement's: no place in the statement is theirs. */
function forgetPlaces(node: unknown): void {
  if (Array.isArray(node)) for (const item of node) forgetPlaces(item);
  else if (typeof node === 'object' && node !== null) {
    const body = node as Record<string, unknown>;
    for (const value of Object.values(body)) forgetPlaces(value);
    for (const kind of ['A_Const', 'ParamRef'])
      if (typeof body[kind] === 'object' && body[kind] !== null)
        (body[kind] as Record<string, unknown>).location = -1;
  }
}

/** By `schema.name`, and by the bare name of the first schema of the path that has one. */
export function visibleViews(
  views: readonly View[],
  path: readonly string[],
): ReadonlyMap<string, SelectStmt> {
  const visible = new Map(views.map(({ schema, name, query }) => [`${schema}.${name}`, query]));
  for (const schema of path)
    for (const view of views)
      if (view.schema === schema && !visible.has(view.name)) visible.set(view.name, view.query);
  return visible;
}
