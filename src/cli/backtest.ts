import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { type BudgetResult, backtest, comparedNames } from '../backtest/backtest.ts';
import { type Cut, cutsOf, parseHorizon, parseShares, prefixGroup } from '../backtest/options.ts';
import { readCalendarFile } from '../calendar/index.ts';
import { ForeshadowError } from '../core/errors.ts';
import { readEventsFile } from '../model/index.ts';
import { type CommonFlags, parseNumber, print, remark, say, table } from './output.ts';

interface BacktestFlags extends CommonFlags {
  readonly events: string;
  readonly calendar?: string;
  readonly cuts: string;
  readonly at?: number;
  readonly horizon: string;
  readonly budget: string;
  readonly keysOut?: string;
  readonly seed: number;
}

export function backtestCommand(program: Command): Command {
  return program
    .command('backtest')
    .description('hold predictions against what really came, beside every baseline, on a file of events')
    .requiredOption('--events <file>', 'CSV or CSV.gz with ts_seconds,key,op (R or W); key may be group:rest')
    .option(
      '--calendar <file>',
      'CSV start,end,group[,kind][,weight] of announced events, in the events’ time',
    )
    .option('--cuts <shares>', 'when to predict, as shares of the span of the events', '0.5,0.65,0.8')
    .option(
      '--at <seconds>',
      'when to predict, instead of --cuts; the events may end there (then nothing is scored)',
      parseNumber,
    )
    .option('--horizon <length>', 'how far ahead: a share of the span, or a time such as 14400s, 4h', '0.1')
    .option('--budget <shares>', 'rows that may be chosen, as shares of those seen', '0.05,0.1,0.2')
    .option(
      '--keys-out <dir>',
      'write the chosen keys, one a line, to cut-C_budget-B.txt, and those of each other way to choose beside it',
    )
    .option('--seed <n>', 'the same seed gives the same choice', parseNumber, 1)
    .action(async (flags: BacktestFlags) => {
      const budgets = parseShares(flags.budget, 'budgets');
      const cuts = parseShares(flags.cuts, 'cuts');
      const horizon = parseHorizon(flags.horizon);
      const events = flags.calendar ? await readCalendarFile(flags.calendar) : [];
      const accesses = await readEventsFile(flags.events);
      const grouped = accesses.some(({ key }) => prefixGroup(key) !== null);
      const world = grouped ? { groupOf: prefixGroup, events } : {};
      if (events.length > 0 && !grouped)
        remark('foreshadow: the calendar has no effect: no key has a group before a colon');
      const results: Record<string, unknown>[] = [];
      for (const cut of cutsOf(accesses, { cuts, at: flags.at, horizon })) {
        const began = performance.now();
        const { at, horizonSeconds } = cut;
        const found = await backtest({ accesses, world, at, horizonSeconds, budgets, seed: flags.seed });
        const cost = {
          seconds: (performance.now() - began) / 1000,
          peak_rss_mb: process.resourceUsage().maxRSS / 1024,
        };
        for (const result of found) {
          if (flags.keysOut) await writeKeys(flags.keysOut, cut, result);
          results.push(documentOf(cut, result, cost));
          if (!flags.json) say(textOf(cut, result, cost.seconds));
        }
      }
      if (flags.json) print({ schema: 1, cuts: results });
    });
}

/** One file for the chosen keys, and one more for each way to choose, named after it. */
async function writeKeys(folder: string, { cut, at }: Cut, { budget, keys }: BudgetResult): Promise<void> {
  const stem = `${cut === null ? `at-${at}` : `cut-${cut}`}_budget-${budget}`;
  try {
    await mkdir(folder, { recursive: true });
    for (const [name, own] of Object.entries(keys)) {
      const file = name === 'chosen' ? `${stem}.txt` : `${stem}_${name}.txt`;
      await writeFile(join(folder, file), own.map((key) => `${key}\n`).join(''));
    }
  } catch (cause) {
    const message = `cannot write the keys to ${folder}: ${(cause as Error).message}`;
    throw new ForeshadowError('USAGE', message, { folder }, { cause });
  }
}

function documentOf(
  { cut, at, horizonSeconds }: Cut,
  { keys: _, scored, ...result }: BudgetResult,
  cost: { readonly seconds: number; readonly peak_rss_mb: number },
): Record<string, unknown> {
  return {
    cut,
    at,
    horizon_s: horizonSeconds,
    ...result,
    share_of_oracle: scored?.share_of_oracle ?? null,
    hit_share: scored?.hit_share ?? null,
    policies: scored?.policies ?? null,
    policy_rows: scored?.policy_rows ?? null,
    calibration: scored?.calibration ?? null,
    accesses: scored?.accesses ?? 0,
    announced: scored?.announced ?? null,
    ...cost,
  };
}

function textOf({ cut, at }: Cut, result: BudgetResult, seconds: number): string {
  const { budget, rows, universe, scored } = result;
  const head = `cut ${cut ?? `at ${at}`}, budget ${budget}: ${rows} of ${universe} rows; predictor ${result.chosen_predictor} (${seconds.toFixed(1)} s)`;
  if (!scored) return `${head}\n  nothing to score: no events after the cut\n`;
  const percent = (share: number | null) => (share === null ? '–' : (share * 100).toFixed(1));
  const names = [...comparedNames, 'oracle'] as const;
  const { predicted, realised, lower, upper } = scored.calibration;
  const { once, admit, rechoose } = scored.policies;
  const held = scored.policy_rows;
  const { announced } = scored;
  return [
    head,
    table([
      ['  per cent', ...names],
      ['  hit share', ...names.map((name) => percent(scored.hit_share[name]))],
      ['  of oracle', ...names.map((name) => percent(name === 'oracle' ? 1 : scored.share_of_oracle[name]))],
    ]),
    `  predicted ${percent(predicted)} (four times in five ${percent(lower)} to ${percent(upper)}), realised ${percent(realised)}; once ${percent(once)}, admitting new rows ${percent(admit)} (${held.admit} rows), choosing again ten times ${percent(rechoose)} (${held.rechoose} rows)`,
    ...(announced
      ? [
          `  rows of announced events: ${announced.accesses} accesses, ${percent(announced.hit_share.chosen)} hit (lfu ${percent(announced.hit_share.lfu)}, ewma ${percent(announced.hit_share.ewma)})`,
        ]
      : []),
    '',
  ].join('\n');
}
