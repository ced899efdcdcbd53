import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { calendarCsv, eventsCsv, writeText } from './csv.ts';
import { writePostgresLog } from './postgres-log.ts';
import { samples } from './samples.ts';
import type { TraceOptions } from './trace.ts';

interface Flags extends Partial<TraceOptions> {
  readonly out?: string;
}

const program = new Command('npm run data --')
  .description('make synthetic traces; without arguments, the committed samples again')
  .argument(
    '[trace]',
    `${Object.keys(samples).join(', ')}; or postgres-log, of a real server, into data/samples`,
  )
  .option('--seed <n>', 'the same seed gives the same trace', number)
  .option('--events <n>', 'accesses', number)
  .option('--keys <n>', 'different keys', number)
  .option('--days <n>', 'length of the trace', number)
  .option('--out <file>', 'CSV, or CSV.gz; a calendar goes beside it, as <file>.calendar.csv')
  .action(async (name: string | undefined, { out, ...options }: Flags) => {
    if (name === undefined) {
      for (const each of Object.keys(samples)) await write(each, {}, `data/samples/${each}.csv.gz`);
    } else if (name === 'postgres-log') {
      const path = out ?? 'data/samples/postgres-log.json.gz';
      const log = { seed: 1, transactions: 2_000, rows: 1_000, seconds: 40, ...options };
      process.stdout.write(`${path}: ${await writePostgresLog(log, path)} lines\n`);
    } else await write(name, options, out ?? `${name}.csv.gz`);
  });
await program.parseAsync();

async function write(name: string, options: Partial<TraceOptions>, out: string): Promise<void> {
  const sample = samples[name];
  if (!sample)
    return program.error(`there is no trace ${name}: it is one of ${Object.keys(samples).join(', ')}`);
  const trace = sample.generate({ ...sample.options, ...options });
  await mkdir(dirname(out), { recursive: true });
  await writeText(out, eventsCsv(trace));
  process.stdout.write(`${out}: ${trace.accesses.length} accesses\n`);
  if (!trace.calendar) return;
  const beside = `${out.replace(/\.csv(\.gz)?$/, '')}.calendar.csv`;
  await writeText(beside, calendarCsv(trace.calendar));
  process.stdout.write(`${beside}: ${trace.calendar.length} announced events\n`);
}

function number(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value)) throw new InvalidArgumentError('not a number');
  return value;
}
