import type { Command } from 'commander';
import type { AccessResolverOptions } from '../access/index.ts';
import { logSettings } from '../access/log-settings.queries.ts';
import { ForeshadowError } from '../core/errors.ts';
import type { KeyColumn } from '../core/plan.ts';
import { parseQualifiedName } from '../db/ident.ts';
import { requireSchema } from '../db/migrate.ts';
import { type LogFormat, logOptionsOf, type ReadLogOptions } from '../logs/index.ts';
import { getMigration } from '../migration/status.store.ts';
import { EventsWriter, readEventsFile } from '../model/index.ts';
import { type LogReading, readAccesses } from '../pipeline/log-reading.ts';
import { targetOf, targetOfMigration } from '../pipeline/log-target.ts';
import { holdSeconds, Mining } from '../pipeline/mining.ts';
import { reportAccesses } from '../pipeline/reporting.ts';
import { type CommonFlags, configOf, print, remark, say, table, withContext } from './output.ts';

interface LearnFlags extends CommonFlags {
  readonly log?: string[];
  readonly events?: string;
  readonly table?: string;
  readonly key?: string;
  readonly database?: string;
  readonly format?: LogFormat;
  readonly linePrefix?: string;
  readonly dryRun?: boolean;
  readonly out?: string;
}

const formats: readonly string[] = ['csvlog', 'jsonlog', 'stderr'];
/** Accesses stored at once. */
const storedAtOnce = 50_000;

export function learnCommand(program: Command): Command {
  return program
    .command('learn [name]')
    .description('which rows of a table a query log tells of, and what it does not tell')
    .option('--log <files...>', 'log files; * and ? may stand in the last part, .gz is unpacked')
    .option('--events <file>', 'with a migration: take in accesses from CSV or CSV.gz ts_seconds,key,op')
    .option('--table <name>', 'schema.table; the migration’s source when one is named')
    .option('--key <columns>', 'key columns: id, or id:bigint,tenant:int; the primary key when absent')
    .option('--database <name>', 'only statements in this database; the connected one, or all')
    .option('--format <format>', 'csvlog, jsonlog or stderr; found by looking when absent')
    .option('--line-prefix <prefix>', 'log_line_prefix, for stderr')
    .option('--dry-run', 'only look, and store nothing')
    .option('--out <file>', 'write the accesses as CSV (or CSV.gz) for train and backtest')
    .action(async (name: string | undefined, flags: LearnFlags, command: Command) => {
      check(name, flags);
      if (name !== undefined) return learnForMigration(name, flags, command);
      const offline = configOf(command).databaseUrl === null;
      const { schema, name: relation } = parseQualifiedName(flags.table as string);
      const [target, options] = offline
        ? [offlineTarget(schema, relation, flags), readOptions(flags, {}, flags.database)]
        : await withContext(command, async ({ pool }) => {
            const names = flags.key?.split(',').map((part) => part.split(':')[0]?.trim() ?? '');
            const { rows } = await pool.query<{ name: string }>('select current_database() as name');
            return [
              await targetOf(pool, flags.table as string, names),
              readOptions(flags, await logSettings(pool), flags.database ?? rows[0]?.name),
            ] as const;
          });
      const writer = flags.out === undefined || flags.dryRun ? null : new EventsWriter(flags.out);
      const report = await measured(() =>
        readAccesses(flags.log ?? [], target, options, (accesses) => writer?.write(accesses)),
      );
      await writer?.close();
      if (writer?.leftOut)
        remark(`foreshadow: ${writer.leftOut} accesses left out: their keys hold line breaks`);
      show(report, flags, writer ? `written to ${flags.out}` : 'nothing was stored');
    });
}

function check(name: string | undefined, flags: LearnFlags): void {
  const usage = (message: string) => new ForeshadowError('USAGE', message);
  if (flags.format !== undefined && !formats.includes(flags.format))
    throw usage(`--format is one of ${formats.join(', ')}, not ${flags.format}`);
  if (name !== undefined) {
    if (flags.table !== undefined) throw usage('--table goes without a migration, which has its source');
    if (flags.log && flags.events) throw usage('give --log or --events, not both');
    return;
  }
  if (flags.events !== undefined) throw usage('--events goes into a migration: name one');
  if (!flags.log) throw usage('name the files with --log FILE…');
  if (flags.table === undefined) throw usage('name the table with --table schema.table');
  if (!flags.dryRun && flags.out === undefined)
    throw usage(
      'say what to do with what is found: --out FILE to write it, --dry-run to look only, or name a migration',
    );
}

function readOptions(
  flags: LearnFlags,
  settings: Readonly<Record<string, string>>,
  database: string | undefined,
): ReadLogOptions {
  const { linePrefix, ...rest } = logOptionsOf(settings);
  const known = Object.keys(settings).length > 0;
  return {
    ...(known ? rest : {}),
    ...(flags.format && { format: flags.format }),
    // the server's own prefix is for its own log; files from elsewhere are told by looking
    ...(flags.linePrefix === undefined ? {} : { linePrefix: flags.linePrefix }),
    ...(linePrefix !== undefined &&
      flags.format === 'stderr' &&
      flags.linePrefix === undefined && { linePrefix }),
    ...(database === undefined ? {} : { database }),
  };
}

/** Without a database, the key is what `--key` says. A type makes ranges and other forms of a number readable. */
function offlineTarget(schema: string, relation: string, { key }: LearnFlags): AccessResolverOptions {
  if (key === undefined)
    throw new ForeshadowError(
      'USAGE',
      'without a database the key is not known: name it with --key id:bigint',
    );
  const columns = key.split(',').map((part): KeyColumn => {
    const [name = '', type = 'unknown'] = part.split(':').map((text) => text.trim());
    return { name, type };
  });
  return { schema, table: relation, key: columns };
}

/** Into the access store of a migration: its own log, other log files, or an events file. */
async function learnForMigration(name: string, flags: LearnFlags, command: Command): Promise<void> {
  await withContext(command, async (ctx) => {
    await requireSchema(ctx.pool);
    const migration = await getMigration(ctx.pool, name);
    if (flags.events) {
      const accesses = await readEventsFile(flags.events);
      if (!flags.dryRun)
        for (let i = 0; i < accesses.length; i += storedAtOnce)
          await reportAccesses(ctx, migration, accesses.slice(i, i + storedAtOnce));
      const stored = flags.dryRun ? 0 : accesses.length;
      if (flags.json) print({ schema: 1, accesses: accesses.length, stored });
      else say(`${accesses.length} accesses in ${flags.events}; ${stored} stored for ${name}`);
      return;
    }
    if (!flags.log) {
      if (!migration.definition.queryLog)
        throw new ForeshadowError('USAGE', `${name} has no queryLog: give --log FILE… or --events FILE`);
      if (flags.dryRun)
        throw new ForeshadowError(
          'USAGE',
          'give --log FILE… to look only: the migration’s own log is stored',
        );
      const mining = await Mining.open(ctx, migration);
      let stored = 0;
      const toTheEnd = async () => {
        for (let behind = 1; behind > 0; ) {
          const step = await mining.step();
          stored += step.taken;
          behind = step.behind;
        }
      };
      await toTheEnd();
      // the last statements may still turn out to have failed
      await ctx.clock.sleep(holdSeconds * 1000 + 50);
      await toTheEnd();
      if (flags.json) print({ schema: 1, stored });
      else say(`${stored} accesses stored for ${name}`);
      return;
    }
    const { rows } = await ctx.pool.query<{ name: string }>('select current_database() as name');
    const options = readOptions(flags, await logSettings(ctx.pool), flags.database ?? rows[0]?.name);
    const target = await targetOfMigration(ctx.pool, migration);
    const report = await measured(() =>
      readAccesses(flags.log ?? [], target, options, async (accesses) => {
        if (!flags.dryRun) await reportAccesses(ctx, migration, accesses);
      }),
    );
    show(report, flags, flags.dryRun ? 'nothing was stored' : `stored for ${name}`);
  });
}

interface Measured extends LogReading {
  readonly seconds: number;
  readonly peakRssMb: number;
}

async function measured(work: () => Promise<LogReading>): Promise<Measured> {
  const began = performance.now();
  const reading = await work();
  return {
    ...reading,
    seconds: (performance.now() - began) / 1000,
    peakRssMb: process.resourceUsage().maxRSS / 1024,
  };
}

const round = (value: number, digits = 3) => Number(value.toFixed(digits));

function show(report: Measured, flags: LearnFlags, done: string): void {
  const { counters, statistics, seconds } = report;
  const unresolved = statistics.unresolvedShapes.map(({ shape, count, reason }) => ({
    shape,
    count,
    reason: reason as string,
  }));
  if (statistics.unresolvedElsewhere > 0)
    unresolved.push({
      shape: '(further shapes)',
      count: statistics.unresolvedElsewhere,
      reason: 'not remembered one by one',
    });
  if (flags.json) {
    print({
      schema: 1,
      lines: counters.lines,
      executions: statistics.executions,
      resolved: statistics.resolved,
      unresolved,
      keys: report.keys,
      accesses: { read: round(report.reads), write: round(report.writes) },
      seconds: round(seconds),
      lines_per_s: Math.round(counters.lines / seconds),
      mb_per_s: round(counters.bytes / 1e6 / seconds, 1),
      peak_rss_mb: round(report.peakRssMb, 1),
    });
    return;
  }
  const touching = statistics.resolved + statistics.unresolved;
  const percent = (part: number, whole: number) =>
    `${whole === 0 ? '–' : ((part / whole) * 100).toFixed(1)} %`;
  const lines = [
    `${percent(statistics.resolved, touching)} of the ${touching} statements that touch ${flags.table ?? 'the table'} say which rows: ` +
      `${round(report.reads)} reads and ${round(report.writes)} writes of ${report.keys} rows`,
    `${counters.lines} lines, ${statistics.executions} statements (${statistics.other} of other tables) in ${seconds.toFixed(1)} s: ` +
      `${Math.round(counters.lines / seconds)} lines/s, ${(counters.bytes / 1e6 / seconds).toFixed(1)} MB/s, ${Math.round(report.peakRssMb)} MB of memory`,
    ...remarks(counters),
  ];
  if (unresolved.length > 0)
    lines.push(
      'not resolved:',
      table([
        ['share', 'count', 'reason', 'statement'],
        ...unresolved.map(({ shape, count, reason }) => [
          percent(count, touching),
          String(count),
          reason,
          shape,
        ]),
      ]),
    );
  say([...lines, done].join('\n'));
}

/** What else a reader should know before trusting the figures. */
function remarks(counters: LogReading['counters']): string[] {
  const counted: [number, string][] = [
    [counters.failed, 'statements failed and do not count'],
    [counters.malformed, 'lines are no part of a log record'],
    [counters.elsewhere, 'records are of other databases'],
    [counters.foreign, 'records are in another language than English'],
    [counters.zoneGuessed, 'records have an unknown time zone, read as UTC'],
    [counters.cutFiles, 'compressed files end too early'],
    [counters.duplicateFiles, 'files were left out: the same log in a format that tells less'],
  ];
  return counted.filter(([count]) => count > 0).map(([count, what]) => `${count} ${what}`);
}
