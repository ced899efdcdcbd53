import { type Sampling, samplingOf } from './sampling.ts';

/** What a server's settings say of its log: options for {@link readLog} and {@link LogFollower}. */
export interface LogSettings {
  readonly sampling: Sampling;
  readonly parameterMaxLength: number;
  readonly linePrefix?: string;
}

/**
 * @param settings by name, as `SHOW` or `pg_settings.setting` gives them; a missing one has its default. They may differ
 *   by user and database, and may have changed since the log was written: ask as the application, and for today's log
 */
export function logOptionsOf(settings: Readonly<Record<string, string | undefined>>): LogSettings {
  const { log_line_prefix: linePrefix, log_parameter_max_length: maxLength } = settings;
  return {
    sampling: samplingOf(settings),
    parameterMaxLength: bytesOf(maxLength ?? '-1'),
    ...(linePrefix !== undefined && { linePrefix }),
  };
}

const unitBytes: Readonly<Record<string, number>> = { '': 1, B: 1, kB: 1024, MB: 1024 ** 2, GB: 1024 ** 3 };

function bytesOf(setting: string): number {
  const found = /^\s*(-?\d+)\s*(B|kB|MB|GB|)\s*$/.exec(setting);
  return found ? Number(found[1]) * (unitBytes[found[2] ?? ''] as number) : -1;
}
