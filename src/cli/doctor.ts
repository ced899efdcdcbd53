import type { Command } from 'commander';
import { type MigrationFile, readMigrationFile } from '../config/migration-file.ts';
import type { Context } from '../context.ts';
import { ForeshadowError } from '../core/errors.ts';
import { schemaVersion } from '../db/migrate.ts';
import { type Check, firstRefusal, ok, warn } from '../migration/preflight/checks.ts';
import { preflight } from '../migration/preflight/preflight.ts';
import { readable, serverSettings } from '../migration/throttle/measure.queries.ts';
import { migrationUnderWay, reportStatements } from '../pipeline/statements.ts';
import { announcedBy } from '../pipeline/world.ts';
import { backendCheck } from './backend-check.ts';
import { logChecks } from './doctor-log.ts';
import { type CommonFlags, parseNumber, print, remark, say, table, withContext } from './output.ts';
import { statementsText } from './statements-text.ts';

const marks = { ok: 'ok', warn: 'WARN', refuse: 'REFUSED' } as const;

export function doctorCommand(program: Command): Command {
  return program
    .command('doctor [file]')
    .description('look at the database, and at one migration file, without changing anything')
    .option(
      '--disk-free <bytes>',
      "free bytes on the server's disk, if they cannot be seen from here",
      parseNumber,
    )
    .option(
      '--statements',
      "the application's own statements, from the query log: which would be slow, fail or break, and what helps",
    )
    .action(
      async (
        path: string | undefined,
        flags: CommonFlags & { diskFree?: number; statements?: boolean },
        command: Command,
      ) => {
        await withContext(command, async (ctx) => {
          const checks = await environment(ctx);
          const options = flags.diskFree === undefined ? {} : { diskFree: flags.diskFree };
          const file = path ? await readMigrationFile(path) : null;
          if (flags.statements && !file)
            throw new ForeshadowError('USAGE', '--statements needs a migration file');
          const underWay = flags.statements && file ? await migrationUnderWay(ctx, file) : null;
          checks.push(...(await logChecks(ctx, file)));
          const result = file && !underWay ? await preflight(ctx.pool, file, options) : null;
          if (underWay)
            checks.push(
              ok(
                'migration',
                `${underWay.name} is ${underWay.status}: what comes before it is not looked at`,
              ),
            );
          checks.push(...(result?.checks ?? []));
          if (file) checks.push(...(await announcedChecks(file.predict, ctx.clock.now())));
          const error = firstRefusal(checks);
          const statements =
            flags.statements && file && !error ? await reportStatements(ctx, file, result) : undefined;
          if (flags.json) print({ schema: 1, ok: !error, checks, ...(statements && { statements }) });
          else {
            say(
              table(
                checks.map((check) => [
                  marks[check.status],
                  check.id,
                  check.hint && check.status !== 'ok' ? `${check.message} — ${check.hint}` : check.message,
                ]),
              ),
            );
            if (statements) say(`\n${statementsText(statements)}`);
            else if (flags.statements)
              remark('foreshadow: statements are not looked at until this is mended');
          }
          if (error) process.exitCode = error.exitCode;
        });
      },
    );
}

/** What prediction will know in advance, as it would read it now. */
async function announcedChecks(predict: MigrationFile['predict'], now: number): Promise<Check[]> {
  if (predict.calendar === undefined && predict.holidays === undefined) return [];
  const { events, problems } = await announcedBy(predict, now, now);
  const checks = problems.map((problem) =>
    warn(
      'announced events',
      `prediction would go on without: ${problem}`,
      'Mend the file, or its path as seen from the process that predicts.',
    ),
  );
  const next = events.find(({ start }) => start > now);
  const named = events.filter(({ group }) => group !== null).length;
  if (problems.length === 0 || events.length > 0) {
    const count = `${events.length} ${events.length === 1 ? 'event is' : 'events are'} known`;
    const when = next
      ? `; the next begins ${new Date(next.start * 1000).toISOString()}${next.kind && ` (${next.kind})`}`
      : '; none is to come';
    checks.push(ok('announced events', count + when));
  }
  if (named > 0 && predict.group === undefined)
    checks.push(
      warn(
        'announced events',
        `${named} events name a group, and without predict.group no row has one`,
        'Name the column in predict.group.',
      ),
    );
  return checks;
}

async function environment(ctx: Context): Promise<Check[]> {
  const version = await schemaVersion(ctx.pool);
  const { rows } = await ctx.pool.query<{ name: string; setting: string; unit: string | null }>(
    `select name, setting, unit from pg_settings
      where name in ('deadlock_timeout', 'max_connections')`,
  );
  const { version: server } = await serverSettings(ctx.pool);
  const { unread } = await readable(ctx.pool, server);
  const setting = (name: string) => rows.find((row) => row.name === name)?.setting ?? '';
  const deadlock = Number(setting('deadlock_timeout'));
  return [
    ok('server', `PostgreSQL ${ctx.serverVersion}`),
    version
      ? ok('schema', `foreshadow is installed, version ${version}`)
      : warn('schema', 'foreshadow is not installed here', 'Run: foreshadow init'),
    await backendCheck(),
    unread.length
      ? warn(
          'throttle',
          `the throttle would go on without ${unread.join(', ')}, which this role may not read`,
          'Grant pg_monitor, or pg_read_all_stats.',
        )
      : ok('throttle', 'lag, slots, sessions, WAL and checkpoints can be measured'),
    deadlock >= 500
      ? ok('deadlock_timeout', `${deadlock} ms`)
      : warn(
          'deadlock_timeout',
          `${deadlock} ms is less than twice the cutover budget of 250 ms`,
          'Set it to 1s for the time of the cutover.',
        ),
  ];
}
