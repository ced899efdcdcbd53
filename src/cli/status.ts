import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { requireSchema } from '../db/migrate.ts';
import { isOver } from '../migration/states.ts';
import { listMigrations } from '../migration/status.store.ts';
import { describeMigration, type StatusDocument } from '../migration/status.ts';
import { type CommonFlags, print, say, table, withContext } from './output.ts';

export function statusCommand(program: Command): Command {
  return program
    .command('status [name]')
    .description('where a migration stands and what it waits for; without a name, all of them')
    .option('--watch', 'print again every second until it is over')
    .action(async (name: string | undefined, flags: CommonFlags & { watch?: boolean }, command: Command) => {
      await withContext(command, async (ctx) => {
        await requireSchema(ctx.pool);
        if (!name) {
          const all = await Promise.all(
            (await listMigrations(ctx.pool)).map((each) => describeMigration(ctx.pool, each.name)),
          );
          if (flags.json) return print({ schema: 1, migrations: all });
          return say(
            all.length
              ? table(all.map((each) => [each.name, each.status, each.wait_reason ?? '']))
              : 'no migrations',
          );
        }
        for (;;) {
          const status = await describeMigration(ctx.pool, name);
          if (flags.json) print(status);
          else say(statusText(status));
          if (!flags.watch || flags.json || status.status === 'COMPLETED' || isOver(status.status)) return;
          await sleep(1000);
        }
      });
    });
}

const percent = (share: number | null | undefined) =>
  share === null || share === undefined ? '–' : `${(share * 100).toFixed(1)} %`;
const number = (value: number | null | undefined, digits = 3) =>
  value === null || value === undefined ? '–' : value.toFixed(digits);

const duration = (seconds: number | null) => (seconds === null ? '–' : `${Math.round(seconds)} s`);

/** What an operator asks, in the order in which it is asked. */
export function statusText(s: StatusDocument): string {
  const lines: string[][] = [
    ['migration', s.name],
    ['state', s.status_before ? `${s.status} (from ${s.status_before})` : s.status],
  ];
  if (s.error) lines.push(['stopped by', `${s.error.message} — ${s.error.hint}`]);
  if (s.wait_reason) lines.push(['waiting', s.wait_reason]);
  for (const { message } of s.warnings) lines.push(['WARNING', message]);
  for (const reason of s.gate.reasons.slice(0, 5)) lines.push(['gate', reason]);
  lines.push(['route', `reads ${s.read_from}, writes ${s.write_to}, epoch ${s.epoch}`]);
  if (s.confidence) {
    const c = s.confidence;
    lines.push([
      'confidence',
      `${number(c.level)} [${number(c.lower)}, ${number(c.upper)}], threshold ${number(c.threshold)}`,
    ]);
    lines.push([
      '',
      `similarity ${number(c.similarity_score)}, change rate factor ${number(c.change_rate_factor)}, ${Math.round(c.effective_sample_size)} rows of effective sample`,
    ]);
  }
  const shadow = s.shadow_table_status;
  lines.push([
    'shadow',
    `${shadow.rows} of ${shadow.wanted} rows, complete ${percent(shadow.completeness)}, accurate ${percent(shadow.accuracy)}`,
  ]);
  if (s.coverage) {
    const c = s.coverage;
    lines.push([
      'reads served',
      `${percent(c.hit_share)} of ${c.reads} (random ${percent(c.random)}, LFU ${percent(c.lfu)}, LRU ${percent(c.lru)}, EWMA ${percent(c.ewma)}, best possible ${percent(c.oracle)})`,
    ]);
  }
  if (s.query_log) {
    const { resolved, unresolved, unresolved_shapes: shapes } = s.query_log;
    const touching = resolved + unresolved;
    if (touching > 0)
      lines.push(['query log', `${percent(resolved / touching)} of ${touching} statements tell their rows`]);
    for (const { share, reason, shape } of shapes.slice(0, 3))
      lines.push(['', `${percent(share)} do not (${reason}): ${shape}`]);
  }
  if (s.model) {
    const { drift, announced_problems: problems = [] } = s.model as {
      readonly drift?: { readonly message: string };
      readonly announced_problems?: readonly string[];
    };
    lines.push(['model', `${s.model.predictor}: ${s.model.reason ?? ''}`]);
    if (drift) lines.push(['', `${drift.message}; training is due`]);
    for (const problem of problems) lines.push(['', `without announced events: ${problem}`]);
  }
  lines.push(['rows', `${s.rows.migrated} of ${s.rows.total} passed by the copy`]);
  if (s.throttle?.reason) lines.push(['throttle', s.throttle.reason]);
  if (s.throttle?.unread.length) lines.push(['', `without: ${s.throttle.unread.join(', ')}`]);
  if (s.eta_s !== null || s.eta_total_s !== null)
    lines.push([
      'time left',
      `copy ${duration(s.eta_s)}, until writes may be cut over ${duration(s.eta_total_s)}`,
    ]);
  if (s.lag)
    lines.push([
      'lag',
      `${s.lag.ms_p50} ms median, ${s.lag.ms_p99} ms p99, ${s.lag.backlog} changes waiting`,
    ]);
  for (const lock of s.locks)
    lines.push([
      'lock',
      `${lock.kind}: waited ${lock.wait_ms} ms, held ${lock.hold_ms} ms, attempt ${lock.attempts}`,
    ]);
  if (s.verification) {
    const v = s.verification;
    lines.push([
      'verified',
      `${v.compared} rows: ${v.missing} missing, ${v.extra} extra, ${v.different} different`,
    ]);
  }
  const back = s.way_back;
  if (back.open)
    lines.push([
      'way back',
      back.behind === null ? 'yes, once writes are cut over' : `open, ${back.behind} changes behind`,
    ]);
  else lines.push(['way back', `none: ${back.reasons.join('; ')}`]);
  return table(lines);
}
