import { changeColumns } from '../access/change-times.queries.ts';
import { adviseLogging } from '../access/log-advice.ts';
import { logSettings, roleLogSettings } from '../access/log-settings.queries.ts';
import type { MigrationFile } from '../config/migration-file.ts';
import type { Context } from '../context.ts';
import { ForeshadowError } from '../core/errors.ts';
import { ident, parseQualifiedName } from '../db/ident.ts';
import { logOptionsOf } from '../logs/index.ts';
import { type Check, ok, warn } from '../migration/preflight/checks.ts';
import { usable } from '../pipeline/change-signals.ts';
import { type LogTail, readTail } from '../pipeline/log-tail.ts';
import { targetOf } from '../pipeline/log-target.ts';

const id = 'query log';

/** What the server's logging will and will not show, and of a migration also what its log's end does show. */
export async function logChecks(ctx: Context, file: MigrationFile | null): Promise<Check[]> {
  const { pool } = ctx;
  const settings = await logSettings(pool);
  const { rows } = await pool.query<{ database: string; version: number }>(
    "select current_database() as database, current_setting('server_version_num')::int as version",
  );
  const { database = '', version = 0 } = rows[0] ?? {};
  const roles = await roleLogSettings(pool);
  const advice = adviseLogging({ settings, roles, versionNum: version, database });
  const checks = advice.map(({ status, message, hint }) =>
    status === 'ok' ? { ...ok(id, message), ...(hint && { hint }) } : warn(id, message, hint),
  );
  if (!file) return checks;
  checks.push(...(await signalChecks(ctx, file)));
  if (!file.queryLog) {
    const hint = 'Name the server’s log files in queryLog.path, as this process sees them.';
    return [
      ...checks,
      warn(id, 'the migration has no queryLog: prediction rests on captured changes alone', hint),
    ];
  }
  const { path, format, linePrefix } = file.queryLog;
  try {
    const { sampling, parameterMaxLength } = logOptionsOf(settings);
    const target = await targetOf(pool, file.source, file.key);
    const tail = await readTail(path, target, { database, format, linePrefix, sampling, parameterMaxLength });
    checks.push(
      ...(tail ? tailChecks(tail, file.source) : [warn(id, `${path}: nothing is in the newest file yet`)]),
    );
  } catch (error) {
    if (!(error instanceof ForeshadowError)) throw error;
    checks.push(warn(id, error.message, error.hint));
  }
  return checks;
}

/** Change times that would not be used, and why. */
async function signalChecks({ pool }: Context, file: MigrationFile): Promise<Check[]> {
  if (Object.keys(file.signals).length === 0) return [];
  const { schema, name } = parseQualifiedName(file.source);
  const { rows } = await pool.query<{ oid: number | null }>(
    'select to_regclass($1)::oid::int8::float8 as oid',
    [ident(schema, name)],
  );
  const oid = rows[0]?.oid;
  if (!oid) return [];
  return usable(file, await changeColumns(pool, oid)).problems.map((problem) => warn('signals', problem));
}

function tailChecks(tail: LogTail, source: string): Check[] {
  const { statistics, statements, bytes, seconds, path } = tail;
  const touching = statistics.resolved + statistics.unresolved;
  const percent = (part: number, whole: number) => `${((part / whole) * 100).toFixed(0)} %`;
  const checks: Check[] = [];
  const each = statements > 0 ? Math.round(bytes / statements) : 0;
  const hourly = seconds > 0 ? `, ${((bytes / seconds) * 0.0036).toFixed(1)} MB an hour at this rate` : '';
  const size = `${(bytes / 1e6).toFixed(1)} MB of ${path}`;
  if (statements === 0)
    checks.push(
      warn(
        id,
        `the last ${size} show no statement of this database`,
        'Let the application run for a while, or see the settings above.',
      ),
    );
  else checks.push(ok(id, `the last ${size} show ${statements} statements, ${each} bytes each${hourly}`));
  if (statements > 0 && touching === 0)
    checks.push(
      warn(
        id,
        `none of them touches ${source}`,
        'Is it the log of the right server, and the application at work?',
      ),
    );
  if (touching > 0) {
    const message = `${percent(statistics.resolved, touching)} of the ${touching} that touch ${source} tell their rows`;
    const open = statistics.unresolvedShapes
      .slice(0, 3)
      .map(({ shape, count, reason }) => `${percent(count, touching)} ${reason}: ${shape}`);
    checks.push(
      statistics.resolved * 2 >= touching
        ? ok(id, [message, ...open].join('; '))
        : warn(id, message, `Not told: ${open.join('; ')}`),
    );
  }
  if (tail.withoutParameters > 0)
    checks.push(
      warn(
        id,
        `${tail.withoutParameters} statements have $1 and no parameters beside it`,
        'alter system set log_parameter_max_length = -1; select pg_reload_conf();',
      ),
    );
  return checks;
}
