/** The settings by which a server chooses what to log, as far as it leaves that to chance. */
export interface Sampling {
  /** `log_min_duration_statement`, milliseconds; -1 when off */
  readonly minDuration: number;
  /** `log_min_duration_sample`, milliseconds; -1 when off */
  readonly minDurationSample: number;
  /** `log_statement_sample_rate`, 0 to 1 */
  readonly statementRate: number;
  /** `log_transaction_sample_rate`, 0 to 1 */
  readonly transactionRate: number;
}

/**
 * Reads the sampling out of settings by name, as `SHOW` writes them (`250ms`, `1min`) or as `pg_settings.setting` does
 * (`250`). A setting that is missing has the server's default: nothing is sampled.
 */
export function samplingOf(settings: Readonly<Record<string, string | undefined>>): Sampling {
  return {
    minDuration: milliseconds(settings.log_min_duration_statement),
    minDurationSample: milliseconds(settings.log_min_duration_sample),
    statementRate: rate(settings.log_statement_sample_rate, 1),
    transactionRate: rate(settings.log_transaction_sample_rate, 0),
  };
}

/**
 * How many executions a logged one stands for: 1 / P(it was logged). That is for lines which the server wrote because of
 * a duration; what `log_statement` asks for is always logged, and stands for itself.
 *
 * From PostgreSQL's check_log_duration: at or over `minDuration` everything is logged; at or over `minDurationSample`
 * a share of `statementRate`; and independently of both a share of `transactionRate` of the transactions, whole.
 */
export function weightOf(durationMs: number, sampling: Sampling): number {
  const { minDuration, minDurationSample, statementRate, transactionRate } = sampling;
  if (minDuration >= 0 && durationMs >= minDuration) return 1;
  const byStatement = minDurationSample >= 0 && durationMs >= minDurationSample ? statementRate : 0;
  const chance = byStatement + transactionRate - byStatement * transactionRate;
  // 0: these are not the settings that this line was written under
  return chance > 0 ? 1 / chance : 1;
}

const unitMs: Readonly<Record<string, number>> = {
  '': 1,
  us: 0.001,
  ms: 1,
  s: 1000,
  min: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

function milliseconds(setting: string | undefined): number {
  const found = /^\s*(-?[0-9.]+)\s*(us|ms|s|min|h|d|)\s*$/.exec(setting ?? '-1');
  return found ? Number(found[1]) * (unitMs[found[2] ?? ''] as number) : -1;
}

function rate(setting: string | undefined, otherwise: number): number {
  const value = Number(setting ?? otherwise);
  return value >= 0 && value <= 1 ? value : otherwise;
}
