import { as, type Node, nameOf } from './ast.ts';
import type { Expression, ExpressionReader } from './expression.ts';
import { type PlanTarget, planStatement, type StatementPlan } from './plan.ts';

/** A statement that changes what later statements of its session mean, or that runs one of before. */
export type Command =
  | { readonly kind: 'prepare'; readonly name: string; readonly plan: StatementPlan }
  | { readonly kind: 'execute'; readonly name: string; readonly args: readonly (Expression | undefined)[] }
  | { readonly kind: 'deallocate'; readonly name: string | null }
  /** SET search_path and its like: read from the text at hand, for its values are part of it */
  | { readonly kind: 'path' }
  | { readonly kind: 'end' };

/** @returns undefined for every other statement */
export function commandOf(node: Node, target: PlanTarget, read: ExpressionReader): Command | undefined {
  const prepare = as(node, 'PrepareStmt');
  if (prepare?.query)
    return { kind: 'prepare', name: prepare.name ?? '', plan: planStatement(prepare.query, target, read) };
  const execute = as(node, 'ExecuteStmt');
  if (execute)
    return {
      kind: 'execute',
      name: execute.name ?? '',
      args: (execute.params ?? []).map((arg) => read(arg)),
    };
  const deallocate = as(node, 'DeallocateStmt');
  if (deallocate) return { kind: 'deallocate', name: deallocate.isall ? null : (deallocate.name ?? '') };
  const transaction = as(node, 'TransactionStmt')?.kind;
  if (transaction === 'TRANS_STMT_COMMIT' || transaction === 'TRANS_STMT_ROLLBACK') return { kind: 'end' };
  return pathChange(node) ? { kind: 'path' } : undefined;
}

export interface PathChange {
  /** undefined: back to the session's default */
  readonly path: readonly string[] | undefined;
  readonly local: boolean;
  /** DISCARD ALL forgets prepared statements too */
  readonly everything: boolean;
}

/** What SET, RESET, DISCARD ALL, or `select set_config('search_path', …)` do to the search path; undefined: nothing. */
export function pathChange(node: Node): PathChange | undefined {
  const set = as(node, 'VariableSetStmt');
  if (set) {
    const isPath = set.name === 'search_path' || set.kind === 'VAR_RESET_ALL';
    if (!isPath) return undefined;
    const path = set.kind === 'VAR_SET_VALUE' ? (set.args ?? []).map((arg) => textOf(arg) ?? '') : undefined;
    return { path, local: set.is_local === true, everything: false };
  }
  if (as(node, 'DiscardStmt')?.target === 'DISCARD_ALL')
    return { path: undefined, local: false, everything: true };
  const [target, ...more] = as(node, 'SelectStmt')?.targetList ?? [];
  const call = more.length === 0 ? as(as(target, 'ResTarget')?.val, 'FuncCall') : undefined;
  if (nameOf(call?.funcname?.at(-1)) !== 'set_config') return undefined;
  const [name, value, local] = call?.args ?? [];
  if (textOf(name) !== 'search_path') return undefined;
  const path = textOf(value)
    ?.split(',')
    .map((part) => part.trim().replace(/^"(.*)"$/, '$1'));
  return { path, local: as(local, 'A_Const')?.boolval?.boolval === true, everything: false };
}

function textOf(node: Node | undefined): string | undefined {
  return as(node, 'A_Const')?.sval?.sval;
}
