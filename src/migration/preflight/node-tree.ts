/** An expression as PostgreSQL stores it (pg_node_tree): a value is a node, a list, or a word. */
export type TreeValue = string | TreeNode | readonly TreeValue[];

export interface TreeNode {
  readonly tag: string;
  readonly fields: ReadonlyMap<string, TreeValue>;
}

const isList = (value: TreeValue): value is readonly TreeValue[] => Array.isArray(value);
export const isNode = (value: TreeValue | undefined): value is TreeNode =>
  typeof value === 'object' && !Array.isArray(value);

/**
 * Reads the text of a pg_node_tree: `{TAG :field value …}`, `(list)`, words. In words a backslash makes the next character an
 * ordinary one. The fields of a node keep what follows them up to the next, a list where that is more than one value.
 */
export function parseNodeTree(text: string): TreeValue {
  const tokens = text.match(/[(){}]|(?:\\[\s\S]|[^\s(){}\\])+/g) ?? [];
  let at = 0;
  const value = (): TreeValue => {
    const token = tokens[at++];
    if (token === undefined) throw new Error('the tree ends too early');
    if (token === '(') return until(')');
    if (token !== '{') return token;
    const tag = tokens[at++] ?? '';
    const fields = new Map<string, TreeValue>();
    while (tokens[at] !== '}') {
      const name = tokens[at++]?.slice(1) ?? '';
      // the first value may begin with a colon, as a name of the user's may
      const values = [value()];
      while (tokens[at] !== '}' && !tokens[at]?.startsWith(':')) values.push(value());
      fields.set(name, values.length === 1 ? (values[0] as TreeValue) : values);
    }
    at++;
    return { tag, fields };
  };
  const until = (end: string): TreeValue[] => {
    const values: TreeValue[] = [];
    while (tokens[at] !== end) values.push(value());
    at++;
    return values;
  };
  return value();
}

/** Every node of a tree, the outer before the inner. */
export function* nodesOf(value: TreeValue): Generator<TreeNode> {
  if (isList(value)) for (const each of value) yield* nodesOf(each);
  if (!isNode(value)) return;
  yield value;
  for (const field of value.fields.values()) yield* nodesOf(field);
}

/** The fields that hold the type of an expression, in nodes of every kind and version that may stand in a map. */
const typeFields = [
  ...['vartype', 'consttype', 'funcresulttype', 'opresulttype', 'resulttype', 'casetype', 'coalescetype'],
  ...['minmaxtype', 'refrestype', 'refelemtype', 'array_typeid', 'row_typeid', 'typeId', 'typid'],
];

/** The OID of the type that an expression has, null where it is none of those that can be of a type of ours to look at. */
export function typeOidOf(node: TreeNode): number | null {
  for (const field of typeFields) {
    const type = node.fields.get(field);
    if (type !== undefined) return Number(type);
  }
  // COLLATE has the type of what it collates, JSON_VALUE that of its RETURNING
  const from = node.fields.get('arg') ?? node.fields.get('returning');
  return isNode(from) ? typeOidOf(from) : null;
}
