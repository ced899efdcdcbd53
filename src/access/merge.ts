import type { MergeStmt, MergeWhenClause } from 'libpg-query';
import { as, columnNames } from './ast.ts';
import type { CteNames } from './from.ts';
import type { Planner } from './plan.ts';
import { reasons } from './reason.ts';

/**
 * MERGE looks at the rows of the target that its source's rows match. With a source of constants these are known, and so
 * are the keys that it inserts when the join condition is on the key and the inserted key is the source's own.
 */
export function planMerge(planner: Planner, merge: MergeStmt, outer: CteNames): void {
  const ctes = planner.ctes(merge.withClause, outer);
  const { relation, sourceRelation, joinCondition } = merge;
  // each row of the source is looked at, matched or not
  planner.from.list(sourceRelation ? [sourceRelation] : [], undefined, ctes);
  if (relation && planner.isOurs(relation, new Map())) {
    const clauses = (merge.mergeWhenClauses ?? []).map((node) => as(node, 'MergeWhenClause'));
    if (clauses.some((clause) => clause?.matchKind === 'MERGE_WHEN_NOT_MATCHED_BY_SOURCE'))
      planner.open(reasons.wholeTable);
    const items = sourceRelation ? [sourceRelation] : [];
    const { conditions, constants } = planner.from.common(items, joinCondition, ctes);
    const updates = clauses.find((clause) => clause?.commandType === 'CMD_UPDATE');
    const newKey = updates && planner.newKey(updates.targetList ?? []);
    planner.from.use({ op: 'W', table: relation, conditions, constants, newKey });
    for (const clause of clauses)
      if (clause?.commandType === 'CMD_INSERT' && !insertsJoinedKey(planner, merge, clause))
        planner.open(reasons.computed);
  } else if (relation && planner.viewOf(relation, new Map())) planner.open(reasons.viewWrite);
  const { withClause, relation: _, sourceRelation: __, ...rest } = merge;
  planner.within(rest, ctes);
}

/** The key that is inserted is the one that the join has looked for. */
function insertsJoinedKey(planner: Planner, merge: MergeStmt, clause: MergeWhenClause): boolean {
  const { target } = planner;
  const columns = clause.targetList?.map((node) => as(node, 'ResTarget')?.name) ?? target.columns ?? [];
  const name = merge.relation?.alias?.aliasname ?? merge.relation?.relname ?? '';
  const scope = planner.reader.widened({
    conditions: merge.joinCondition ? [merge.joinCondition] : [],
    constants: [],
    keyColumn: ([first, second]) =>
      second !== undefined && first === name ? target.key.indexOf(second) : -1,
  });
  return target.key.every((column, k) => {
    const names = columnNames(clause.values?.[columns.indexOf(column)]);
    return names !== undefined && scope.keyColumn(names) === k;
  });
}
