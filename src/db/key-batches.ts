import { type Key, type KeyId, keyFromId } from '../core/key.ts';
import type { TablePlan } from '../core/plan.ts';
import { throughDeadlocks } from './deadlock.ts';
import { ident } from './ident.ts';
import { codeOf } from './sqlstate.ts';

/** Keys sent to the server at once: a few milliseconds of row locks on the membership table. */
const batchSize = 2000;

/** `unnest($n…) as d(k1, k2 …, n)` cast to the key's types, with its parameters; n counts from 1. */
export function keysAsRows(
  plan: TablePlan,
  keys: readonly Key[],
  first: number,
): { sql: string; values: string[][] } {
  const arrays = plan.sourceKey.map((_, i) => keys.map((key) => key[i] as string));
  const casts = plan.sourceKey.map((column, i) => `r.c${i + 1}::${column.type} as k${i + 1}`);
  const sql = `(select ${casts.join(', ')}, r.n from unnest(${arrays.map((_, i) => `$${first + i}::text[]`).join(', ')})
                  with ordinality as r(${arrays.map((_, i) => `c${i + 1}`).join(', ')}, n))`;
  return { sql, values: arrays };
}

/** Source row s has the key of a row of {@link keysAsRows}. */
export const sourceHasKeyOf = (plan: TablePlan, alias: string) =>
  plan.sourceKey.map((c, i) => `s.${ident(c.name)} = ${alias}.k${i + 1}`).join(' and ');

/**
 * The rows of {@link keysAsRows} that the source has, with the mapped key of each as m1, m2 …: by it our tables are indexed.
 * It is the image of the row's own key; that of an equal one (1.0 and 1.00) may be another.
 */
export function mappedAsRows(
  plan: TablePlan,
  keys: readonly Key[],
  first: number,
): { sql: string; values: string[][] } {
  const { sql, values } = keysAsRows(plan, keys, first);
  const mapped = plan.targetKey.map((column, i) => `${column.value} as m${i + 1}`).join(', ');
  return {
    sql: `(select d.*, ${mapped} from ${sql} d join ${plan.names.source} s on ${sourceHasKeyOf(plan, 'd')})`,
    values,
  };
}

/**
 * Runs `body`, one statement, over keys in batches; lanes lock rows of members in an order of their own, so a batch may meet a
 * deadlock, and is tried again. A key that a log claims but that the key's type cannot hold (a literal out of
 * range) fails its batch; the batch is halved until the culprit stands alone and is left out.
 * @returns keys left out
 */
export async function inKeyBatches(
  keys: readonly KeyId[],
  plan: TablePlan,
  body: (keys: Key[], ids: readonly KeyId[]) => Promise<void>,
): Promise<KeyId[]> {
  const out: KeyId[] = [];
  const todo: (readonly KeyId[])[] = [];
  for (let i = 0; i < keys.length; i += batchSize) todo.push(keys.slice(i, i + batchSize));
  for (let ids = todo.pop(); ids; ids = todo.pop()) {
    try {
      const batch = ids.map((id) => keyFromId(id, plan.sourceKey.length));
      await throughDeadlocks(() => body(batch, ids));
    } catch (error) {
      if (!codeOf(error)?.startsWith('22')) throw error;
      if (ids.length === 1) out.push(ids[0] as KeyId);
      else todo.push(ids.slice(0, ids.length >> 1), ids.slice(ids.length >> 1));
    }
  }
  return out;
}
