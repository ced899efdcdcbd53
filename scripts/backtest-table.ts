/**
 * Backtests every trace of a folder and prints one Markdown table: share of oracle, mean of the cuts .5, .65 and .8.
 * A trace is NAME.csv.gz; NAME.calendar.csv beside it announces events, and then the horizon is four hours.
 *
 *     npm run backtest:table -- FOLDER [NAME…]
 */
import { execFile } from 'node:child_process';
import { access, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

interface Result {
  readonly cut: number;
  readonly budget: number;
  readonly chosen_predictor: string;
  readonly share_of_oracle: Readonly<Record<string, number | null>>;
  readonly policies: Readonly<Record<'once' | 'admit' | 'rechoose', number>>;
  readonly calibration: Readonly<Record<'predicted' | 'realised' | 'lower' | 'upper', number>>;
  readonly seconds: number;
  readonly peak_rss_mb: number;
}

const shown = ['lfu', 'ewma', 'group', 'network', 'mix', 'nudge', 'chosen'] as const;
const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
const share = (value: number | null) => (value === null ? '–' : value.toFixed(3));

const [folder, ...only] = process.argv.slice(2);
if (!folder) throw new Error('name the folder of the traces: npm run backtest:table -- FOLDER [NAME…]');
const names = (await readdir(folder))
  .filter((file) => file.endsWith('.csv.gz'))
  .map((file) => file.slice(0, -'.csv.gz'.length))
  .filter((name) => only.length === 0 || only.includes(name));

const lines = [
  `| trace | budget | ${shown.join(' | ')} | predictors | once → admit → again | predicted − realised, interval | seconds a cut | MB |`,
  `|---|---|${shown.map(() => '---|').join('')}---|---|---|---|---|`,
];
/** by budget, the traces with announced events left out: there the gain is of another kind */
const gains = new Map<number, number[]>();
/** whether the realised hit share lay where it was expected four times in five */
const intervals: boolean[] = [];
let worst = { points: Number.POSITIVE_INFINITY, where: '' };
for (const name of names) {
  const { results, announced } = await backtest(join(folder, name));
  for (const budget of new Set(results.map((result) => result.budget))) {
    const own = results.filter((result) => result.budget === budget);
    const of = (ranking: string) => {
      const shares = own.map((result) => result.share_of_oracle[ranking] ?? null);
      return shares.includes(null) ? null : mean(shares as number[]);
    };
    const policy = (which: keyof Result['policies']) => mean(own.map((result) => result.policies[which]));
    const errors = own.map(({ calibration: { predicted, realised, lower, upper } }) => {
      const within = lower <= realised && realised <= upper;
      intervals.push(within);
      const reach = Math.max(upper - predicted, predicted - lower);
      return `${(100 * (predicted - realised)).toFixed(1)} ±${(100 * reach).toFixed(1)}${within ? '' : '!'}`;
    });
    lines.push(
      `| ${[
        name,
        budget,
        ...shown.map((ranking) => share(of(ranking))),
        own.map((result) => result.chosen_predictor).join(' '),
        `${share(policy('once'))} → ${share(policy('admit'))} → ${share(policy('rechoose'))}`,
        errors.join(', '),
        Math.max(...own.map((result) => result.seconds)).toFixed(0),
        Math.max(...own.map((result) => result.peak_rss_mb)).toFixed(0),
      ].join(' | ')} |`,
    );
    for (const { share_of_oracle: shares, cut } of own) {
      const { chosen, ewma, lfu } = shares as Record<string, number>;
      if (!announced) gains.set(budget, [...(gains.get(budget) ?? []), 100 * (chosen! - ewma!)]);
      const points = 100 * (chosen! - Math.max(ewma!, lfu!));
      if (points < worst.points) worst = { points, where: `${name}, cut ${cut}, budget ${budget}` };
    }
  }
  process.stderr.write(`${name}: done\n`);
}
process.stdout.write(`${lines.join('\n')}\n\n`);
for (const [budget, points] of [...gains, ['all', [...gains.values()].flat()] as const]) {
  const sorted = [...points].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  const median = (sorted[Math.floor(middle - 0.5)]! + sorted[Math.floor(middle)]!) / 2;
  process.stdout.write(
    `budget ${budget}: chosen − ewma, points of oracle, without announced events: mean ${mean(points).toFixed(2)}, median ${median.toFixed(2)}, least ${sorted[0]!.toFixed(2)}\n`,
  );
}
process.stdout.write(
  `worst against the better of lfu and ewma: ${worst.points.toFixed(2)} (${worst.where})\n`,
);

process.stdout.write(
  `realised within the interval: ${intervals.filter(Boolean).length} of ${intervals.length}\n`,
);

async function backtest(path: string): Promise<{ results: Result[]; announced: boolean }> {
  const calendar = `${path}.calendar.csv`;
  const announced = await access(calendar).then(
    () => true,
    () => false,
  );
  const args = ['--import', 'tsx', 'src/cli/main.ts', 'backtest', '--json', '--events', `${path}.csv.gz`];
  if (announced) args.push('--calendar', calendar, '--horizon', '4h');
  const { stdout } = await promisify(execFile)(process.execPath, args, { maxBuffer: 64 * 1024 * 1024 });
  return { results: (JSON.parse(stdout) as { cuts: Result[] }).cuts, announced };
}
