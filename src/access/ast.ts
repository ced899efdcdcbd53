import type { Node } from 'libpg-query';

export type { Node };

type KindOf<N> = N extends unknown ? keyof N : never;
export type NodeKind = KindOf<Node>;
type BodyOf<N, K extends NodeKind> = N extends { [kind in K]: infer Body } ? Body : never;

/** The body of a node of the given kind, or undefined when it is of another kind. */
export function as<K extends NodeKind>(node: Node | undefined, kind: K): BodyOf<Node, K> | undefined {
  return node === undefined ? undefined : (node as unknown as Record<string, BodyOf<Node, K>>)[kind];
}

/** The text of a String node: a name, an operator. */
export function nameOf(node: Node | undefined): string | undefined {
  return as(node, 'String')?.sval;
}

/** The last part of a possibly qualified name: `pg_catalog.=` is `=`. */
export function lastName(names: readonly Node[] | undefined): string | undefined {
  return nameOf(names?.at(-1));
}

/** A node without the casts around it. */
export function withoutCasts(node: Node | undefined): Node | undefined {
  let inner = node;
  for (let cast = as(inner, 'TypeCast'); cast; cast = as(inner, 'TypeCast')) inner = cast.arg;
  return inner;
}

/** The names of a column reference, outermost first, or undefined (also for `t.*`). */
export function columnNames(node: Node | undefined): string[] | undefined {
  const fields = as(node, 'ColumnRef')?.fields;
  const names = fields?.map((field) => nameOf(field));
  return names?.every((name) => name !== undefined) ? (names as string[]) : undefined;
}

/** Calls `visit` for every node below `root`, until it answers true for a node, whose inside is then left alone. */
export function walk(root: unknown, visit: (kind: NodeKind, body: unknown) => boolean): void {
  if (Array.isArray(root)) {
    for (const item of root) walk(item, visit);
  } else if (typeof root === 'object' && root !== null) {
    for (const [kind, body] of Object.entries(root)) {
      if (typeof body === 'object' && body !== null && !visit(kind as NodeKind, body)) walk(body, visit);
    }
  }
}
