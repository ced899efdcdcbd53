import { type BudgetResult, backtest } from '../../src/backtest/backtest.ts';
import { cutsOf, parseHorizon, prefixGroup } from '../../src/backtest/options.ts';
import { readCalendarFile } from '../../src/calendar/index.ts';
import { type Recipe, readEventsFile } from '../../src/model/index.ts';
import { type BenchReport, round } from './server.ts';

const traces = [
  { name: 'seasonal-tenants', horizon: '4h', calendar: true },
  { name: 'drifting-zipf', horizon: '0.1', calendar: false },
  { name: 'order-lifecycle', horizon: '0.1', calendar: false },
] as const;

const from =
  (...prefixes: readonly string[]) =>
  (column: string) =>
    prefixes.some((prefix) => column.startsWith(prefix));

interface Variant {
  readonly recipe?: Partial<Recipe>;
  readonly groups?: false;
  readonly calendar?: false;
}

/** What is left out, or done otherwise, one thing at a time. */
const variants: Readonly<Record<string, Variant>> = {
  'as it is': {},
  'without change counters': { recipe: { hides: from('changes_', 'change_share', 'since_change') } },
  'without recency and age': { recipe: { hides: from('since_') } },
  'decayed counters only': { recipe: { hides: (column) => !from('accesses_', 'changes_')(column) } },
  'without phases of the row': { recipe: { hides: from('same_phase') } },
  'without the calendar': { calendar: false },
  'without groups': { groups: false },
  'Poisson loss': { recipe: { loss: 'poisson' } },
  'one layer of 8': { recipe: { hidden: [8] } },
  '32-16': { recipe: { hidden: [32, 16] } },
  'one pass instead of six': { recipe: { epochs: 1 } },
};

/**
 * Share of oracle at a tenth of the rows, mean of two cuts, on the samples of data/: of the network always (choice off),
 * of what was chosen (choice on), and the hit share of the three policies. One line a variant and trace.
 */
export async function ablation(): Promise<BenchReport> {
  const report: Record<string, number | string> = {};
  for (const { name, horizon, calendar } of traces) {
    const accesses = await readEventsFile(`data/samples/${name}.csv.gz`);
    const events = calendar ? await readCalendarFile(`data/samples/${name}.calendar.csv`) : [];
    const cuts = cutsOf(accesses, { cuts: [0.65, 0.8], horizon: parseHorizon(horizon) });
    const grouped = accesses.some(({ key }) => prefixGroup(key) !== null);
    for (const [variant, { recipe, ...without }] of Object.entries(variants)) {
      if (!grouped && Object.keys(without).length > 0) continue;
      const world =
        grouped && without.groups !== false
          ? { groupOf: prefixGroup, events: without.calendar === false ? [] : events }
          : {};
      const found: BudgetResult[] = [];
      for (const { at, horizonSeconds } of cuts) {
        const options = { accesses, world, at, horizonSeconds, budgets: [0.1], seed: 1 };
        found.push(...(await backtest({ ...options, ...(recipe && { recipe }) })));
      }
      const mean = (of: (scored: NonNullable<BudgetResult['scored']>) => number | null) =>
        round(found.reduce((sum, { scored }) => sum + ((scored && of(scored)) ?? 0), 0) / found.length, 3);
      report[`${name}, ${variant}`] = [
        `ewma ${mean((scored) => scored.share_of_oracle.ewma)}`,
        `network ${mean((scored) => scored.share_of_oracle.network)}`,
        `chosen ${mean((scored) => scored.share_of_oracle.chosen)}`,
        `once ${mean((scored) => scored.policies.once)}`,
        `admit ${mean((scored) => scored.policies.admit)}`,
        `again ${mean((scored) => scored.policies.rechoose)}`,
      ].join('  ');
    }
  }
  return report;
}
