import type { Pool } from 'pg';
import type { KeyId } from '../core/key.ts';
import type { TablePlan } from '../core/plan.ts';
import { ident } from '../db/ident.ts';
import { inKeyBatches, keysAsRows, sourceHasKeyOf } from '../db/key-batches.ts';
import { codeOf, sqlstate } from '../db/sqlstate.ts';

/**
 * The value of one column of the source, as text, by key: one query for each couple of thousand keys. Rows that are not
 * there (any more, or not yet for us), rows with NULL, and keys that the key's type cannot hold are left out.
 *
 * The table is found by its OID: the write cutover renames it, and it keeps its rows under the new name. When it, or the
 * column, is gone, nothing has a group.
 */
export async function groupsOfKeys(
  pool: Pool,
  plan: TablePlan,
  column: string,
  keys: readonly KeyId[],
): Promise<Map<KeyId, string>> {
  const groups = new Map<KeyId, string>();
  // thousands of rows share one text
  const texts = new Map<string, string>();
  let source = await sourceName(pool, plan);
  await inKeyBatches(keys, plan, async (batch, ids) => {
    const rows = keysAsRows(plan, batch, 1);
    const query = () =>
      pool.query<{ n: number; group: string }>(
        `select d.n::int as n, s.${ident(column)}::text as "group" from ${rows.sql} d
           join ${source} s on ${sourceHasKeyOf(plan, 'd')} where s.${ident(column)} is not null`,
        rows.values,
      );
    if (source === null) return;
    const found = await query().catch(async (error) => {
      const code = codeOf(error);
      if (code !== sqlstate.undefinedTable && code !== sqlstate.undefinedColumn) throw error;
      // renamed since we asked for its name
      const now = await sourceName(pool, plan);
      const renamed = now !== source;
      source = renamed ? now : null;
      return renamed && now !== null ? query() : null;
    });
    for (const { n, group } of found?.rows ?? []) {
      const text = texts.get(group) ?? group;
      texts.set(text, text);
      groups.set(ids[n - 1] as KeyId, text);
    }
  });
  return groups;
}

/** What the source is called now; null when it is gone. */
export async function sourceName(pool: Pool, plan: TablePlan): Promise<string | null> {
  const { rows } = await pool.query<{ name: string }>(
    `select format('%I.%I', n.nspname, c.relname) as name
       from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = $1`,
    [plan.sourceOid],
  );
  return rows[0]?.name ?? null;
}
