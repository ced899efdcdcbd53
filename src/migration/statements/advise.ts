import type { ClientBase } from 'pg';
import type { StatementShape } from '../../access/statement-shapes.ts';
import { sqlstate } from '../../db/sqlstate.ts';
import type { PlanSummary } from './plan-summary.ts';
import type { IndexAdvice } from './report.ts';
import { indexable, type Stage } from './stage.queries.ts';
import type { Trials } from './try.ts';

/** An index is advised where, built on the stage, it makes one way of planning the statement this much cheaper. */
const worthwhile = 0.5;
/** … and no other way dearer than this; one of two indexes is left out where the statement hardly notices. */
const asGood = 1.2;

/** Where the indexes would have to be built, by name. */
export interface RealNames {
  readonly source: string;
  readonly target: string;
}

interface Candidate {
  readonly source: string;
  readonly target: string;
}

/** Lists of columns that an index might have: conditions first, then what is sorted by, or a range. */
function columnLists({ usage }: StatementShape): string[][] {
  const { equal, range, order } = usage;
  const lists = [
    [...equal, ...order],
    [...equal, ...range.slice(0, 1)],
    ...[...equal, ...range, ...order].map((column) => [column]),
  ];
  const seen = new Set<string>();
  return lists
    .map((list) => [...new Set(list)].slice(0, 4))
    .filter((list) => list.length > 0 && !seen.has(list.join('\0')) && seen.add(list.join('\0')))
    .slice(0, 6);
}

function candidates(stage: Stage, shape: StatementShape, translated: boolean): Candidate[] {
  return columnLists(shape).flatMap((list) => {
    const sides = list.map((column) => indexable(stage.plan, column, translated));
    if (sides.some((side) => side === null)) return [];
    const all = sides as { source: string; target: string }[];
    return [
      {
        source: all.map((side) => keyPart(side.source)).join(', '),
        target: all.map((side) => keyPart(side.target)).join(', '),
      },
    ];
  });
}

/** A bare column needs no parentheses, any other expression does. */
const keyPart = (sql: string) => (/^"(?:[^"]|"")+"$/.test(sql) ? sql : `(${sql})`);

type Sides = readonly ('source' | 'target' | 'final')[];

/**
 * Looks for indexes by building them, one set after the other, on the stage's small tables, and planning the statement
 * again: what is advised has been seen to be used.
 * @param on `overlay`: on S and T in the middle of the copy; `final`: on T after the swap
 */
export async function adviseIndexes(
  client: ClientBase,
  trials: Trials,
  stage: Stage,
  shape: StatementShape,
  found: { readonly prepared: string; readonly before: readonly PlanSummary[]; readonly translated: boolean },
  on: 'overlay' | 'final',
  real: RealNames,
): Promise<IndexAdvice[]> {
  const gains = async (candidate: Candidate, sides: Sides) =>
    withIndexes(client, stage, candidate, sides, async () => {
      const { plans } = await trials.again(shape, found.prepared);
      return plans.map((plan, i) => plan.cost / Math.max(0.01, found.before[i]?.cost ?? 0));
    });
  const all: Sides = on === 'overlay' ? ['source', 'target'] : ['final'];
  let best: { candidate: Candidate; gains: number[] } | null = null;
  for (const candidate of candidates(stage, shape, found.translated)) {
    const now = await gains(candidate, all);
    const helps = now.some((gain) => gain <= worthwhile) && now.every((gain) => gain <= asGood);
    if (helps && (!best || product(now) < product(best.gains))) best = { candidate, gains: now };
  }
  if (!best) return [];
  let sides = all;
  for (const side of on === 'overlay' ? all : []) {
    const fewer = sides.filter((each) => each !== side);
    if (!fewer.length) continue;
    const now = await gains(best.candidate, fewer);
    if (now.length && now.every((gain, i) => gain <= (best.gains[i] ?? 0) * asGood)) sides = fewer;
  }
  const { candidate } = best;
  return sides.map((side) => {
    const table = side === 'source' ? 'source' : 'target';
    return {
      table,
      sql: `create index concurrently on ${real[table]} (${candidate[table]})`,
      why: on === 'overlay' ? 'overlay' : 'after the swap',
    };
  });
}

const product = (gains: readonly number[]) => gains.reduce((all, gain) => all * gain, 1);

/** Builds the indexes for the time of `body`. Of an expression that no index takes, there is nothing to say. */
async function withIndexes(
  client: ClientBase,
  stage: Stage,
  candidate: Candidate,
  sides: Sides,
  body: () => Promise<number[]>,
): Promise<number[]> {
  const built: string[] = [];
  try {
    for (const side of sides) {
      const name = `foreshadow_stage_try_${built.length + 1}`;
      const columns = candidate[side === 'source' ? 'source' : 'target'];
      await client.query(`create index ${name} on ${stage[side]} (${columns})`);
      built.push(name);
      // Statistics of an expression come with the index; without them it counts for half a per cent of the table.
      if (columns.includes('(')) await client.query(`analyze ${stage[side]}`);
    }
    return await body();
  } catch (error) {
    const code = (error as { code?: string }).code ?? '';
    const unusable = code.startsWith('42') || code.startsWith('22') || code === sqlstate.featureNotSupported;
    if (!unusable) throw error;
    return [];
  } finally {
    for (const name of built) await client.query(`drop index pg_temp.${name}`);
  }
}
