import type { ClientBase } from 'pg';
import type { StatementShape } from '../../access/statement-shapes.ts';
import type { CatalogTable } from '../../db/catalog.ts';
import { sqlstate } from '../../db/sqlstate.ts';
import { adviseIndexes, type RealNames } from './advise.ts';
import { obstacles, withRelation } from './elsewhere.ts';
import { whySlow } from './plan-summary.ts';
import type { IndexAdvice, StatementReport } from './report.ts';
import type { Place, Stage } from './stage.queries.ts';
import { Trials, type Tried } from './try.ts';
import { typeChanges } from './types.ts';

export interface Examination {
  readonly client: ClientBase;
  readonly stage: Stage;
  /** the real source and overlay, when the migration has begun */
  readonly now: Place | null;
  readonly real: RealNames;
  readonly source: CatalogTable;
  readonly target: CatalogTable;
  /** T takes S's name at the end */
  readonly swap: boolean;
  /** all executions that name either table */
  readonly executions: number;
}

/** What was found about one shape, and the names under which it stays prepared for the swap. */
export interface Examined {
  readonly report: StatementReport;
  readonly shape: StatementShape;
  readonly onSource: string | null;
}

/** The first advised shapes by frequency: each takes a second or two of building small indexes. */
const mostAdvised = 25;

/** Characters of a statement's text. */
const longest = 2000;

const worst = (tried: Tried): number | null =>
  tried.plans.length ? Math.max(...tried.plans.map((plan) => plan.cost)) : null;

/** Each way of planning is held against the same way on the other relation. */
function slowness(before: Tried, now: Tried, of: (table: string) => string): string | null {
  const reasons = now.plans.map((plan, i) => {
    const was = before.plans[i] ?? before.plans[0];
    return was ? { plan, why: whySlow(was, plan, of), ratio: plan.cost / Math.max(0.01, was.cost) } : null;
  });
  const slow = reasons.filter((each) => each?.why != null) as { why: string; ratio: number }[];
  slow.sort((a, b) => b.ratio - a.ratio);
  return slow[0]?.why ?? null;
}

/** Tries every shape in turn: errors of PostgreSQL are part of what is found. */
export async function examineAll(
  examination: Examination,
  shapes: readonly StatementShape[],
): Promise<Examined[]> {
  const trials = new Trials(examination.client);
  const found: Examined[] = [];
  let advised = 0;
  for (const shape of shapes) {
    const one = await examine(examination, trials, shape, advised < mostAdvised);
    if (one.report.slow_on_overlay ?? one.report.slow_after_swap) advised++;
    found.push(one);
  }
  return found;
}

async function examine(
  examination: Examination,
  trials: Trials,
  shape: StatementShape,
  advise: boolean,
): Promise<Examined> {
  const { client, stage, now, real } = examination;
  const { usage } = shape;
  const say = (error: string) => withRealNames(examination, error);
  const old = shape.names === 'source';
  const of = (table: string) => tableNames(examination).get(table) ?? '';
  // What speaks the new format is held against T as it will be; what speaks the old one, against S.
  const base = await trials.plan(shape, withRelation(usage, old ? stage.source : stage.final));
  const final = old ? await trials.plan(shape, withRelation(usage, stage.final)) : base;
  const hindered = usage.obstacles.length > 0;
  let overlay: Tried = { plans: [], error: null, code: '', types: [], prepared: null };
  let error: string | null = null;
  let translated = false;
  if (!hindered) {
    overlay = await trials.plan(shape, withRelation(usage, stage.overlay));
    if (overlay.error !== null && old) {
      error = overlay.error;
      await trials.forget(overlay.prepared);
      overlay = await trials.plan(shape, withRelation(usage, stage.translated));
      translated = true;
    } else if (overlay.error !== null) error = overlay.error;
  }
  let slow = slowness(base, overlay, of);
  if (now && !hindered) {
    const before = old ? await trials.plan(shape, withRelation(usage, now.source)) : base;
    const through = await trials.plan(shape, withRelation(usage, translated ? now.translated : now.overlay));
    slow = slowness(before, through, of) ?? slow;
    if (old) await trials.forget(before.prepared);
    await trials.forget(through.prepared);
  }
  const slowAfter = old && final.error === null ? slowness(base, final, of) : null;

  const advice: IndexAdvice[] = [];
  const ask = async (tried: Tried, on: 'overlay' | 'final', inOldColumns: boolean) => {
    if (!tried.prepared || !tried.plans.length) return;
    const found = { prepared: tried.prepared, before: tried.plans, translated: inOldColumns };
    advice.push(...(await adviseIndexes(client, trials, stage, shape, found, on, real)));
  };
  if (advise && slow) await ask(overlay, 'overlay', translated);
  if (advise && slowAfter && !advice.some((each) => each.table === 'target'))
    await ask(final, 'final', false);
  await trials.forget(overlay.prepared);
  if (old) await trials.forget(final.prepared);

  const report: StatementReport = {
    statement: shape.shape.length > longest ? `${shape.shape.slice(0, longest)}…` : shape.shape,
    executions: shape.executions,
    share: shape.executions / Math.max(1, examination.executions),
    kind: usage.kind,
    reads: shape.names,
    cost: { source: old ? worst(base) : null, overlay: worst(overlay), target: worst(final) },
    slow_on_overlay: slow,
    slow_after_swap: slowAfter,
    translated: translated && overlay.plans.length > 0,
    not_for_overlay: usage.obstacles.map((obstacle) => obstacles[obstacle]),
    error_on_overlay: error === null ? null : say(error),
    error_after_swap: old && examination.swap && final.error !== null ? say(final.error) : null,
    prepared_breaks: false,
    types: old
      ? typeChanges(usage, examination.source, examination.target, {
          before: base.types,
          after: translated ? [] : final.types,
        })
      : [],
    advice,
    remark: remarkOn({ base, overlay, slow, slowAfter, advise, advice, hindered }),
  };
  return { report, shape, onSource: old ? base.prepared : null };
}

function remarkOn(found: {
  base: Tried;
  overlay: Tried;
  slow: string | null;
  slowAfter: string | null;
  advise: boolean;
  advice: readonly IndexAdvice[];
  hindered: boolean;
}): string | null {
  const { base, overlay, slow, slowAfter, advise, advice, hindered } = found;
  if (base.error !== null && base.plans.length === 0) {
    const why = base.code === sqlstate.insufficientPrivilege ? ' (grant SELECT to see more)' : '';
    return `not planned: ${base.error}${why}`;
  }
  if (!hindered && overlay.plans.length === 0 && overlay.error !== null)
    return 'whether it is slow on the overlay is not known: write it for the new format, and look again';
  if (!slow && !slowAfter) return null;
  if (!advise) return 'no index was looked for: more frequent statements came first';
  if (slow && !advice.some((each) => each.why === 'overlay'))
    return 'no index helps it on the overlay: leave it on the source until the swap';
  return null;
}

/** PostgreSQL's errors name the tables of the stage. */
function withRealNames({ source, target }: Examination, error: string): string {
  return error
    .replace(/foreshadow_stage_source/g, source.name)
    .replace(/foreshadow_stage_(target|final|overlay|translated)(_now)?/g, target.name);
}

/** The tables of the stage, and the real ones, as the report calls them. */
function tableNames({ stage, now, source, target }: Examination): ReadonlyMap<string, string> {
  const bare = (name: string) => name.replace('pg_temp.', '');
  const names = new Map([
    [bare(stage.source), 'the source'],
    [bare(stage.target), 'the target'],
    [bare(stage.final), 'the target'],
  ]);
  if (now) {
    names.set(source.name, 'the source');
    names.set(target.name, 'the target');
  }
  return names;
}
