import type { ConfidenceReport } from '../confidence/report.ts';

/** Log rows waiting beyond this, or older than this, mean that lanes do not keep up: reads would go to S again. */
const mostBacklog = 20_000;
const mostLagSeconds = 5;
/** A model older than this many horizons has missed a training: a new one is due after half as many. */
const oldestModelHorizons = 16;
/** However short the horizon: a training takes its time too. Seconds. */
const oldestModelAtLeast = 600;
/** The query log may be this far behind: a share of the horizon, and a time in seconds below which it does not matter. */
const mostLogLagShare = 0.1;
const mostLogLagAtLeast = 30;
/** Share of the wanted members that must be in T. */
const completenessNeeded = 0.99;

export interface GateInput {
  readonly report: Pick<ConfidenceReport, 'holds' | 'reasons'> | null;
  /** evaluations in a row, this one included, in which nothing was short */
  readonly inARow: number;
  readonly needed: number;
  readonly wanted: number;
  readonly present: number;
  /** the random remainder has been searched for in every range */
  readonly filled: boolean;
  readonly backlog: number;
  readonly lagSeconds: number;
  /** how far ahead is predicted, seconds */
  readonly horizonSeconds: number;
  /** seconds since the model in use was trained; null without one: then the choice rests on recent use */
  readonly modelAgeSeconds: number | null;
  /** seconds since the end of the query log was last reached; null without a log, or where it never was */
  readonly logLagSeconds: number | null;
}

export interface Gate {
  readonly open: boolean;
  /** what holds it, each a sentence that says what would clear it */
  readonly reasons: readonly string[];
}

/** Whether reads may cut over now; and if not, everything that is in the way. */
export function triggerMigration(input: GateInput): Gate {
  const reasons: string[] = [];
  const { report, wanted, present } = input;
  if (!report) reasons.push('confidence has not been evaluated yet; wait for the first evaluation');
  for (const reason of report?.reasons ?? []) reasons.push(`${reason.message}; ${reason.clear}`);
  if (!input.filled) reasons.push('the random remainder is still being filled; wait for the lanes');
  if (wanted > 0 && present < completenessNeeded * wanted) {
    reasons.push(
      `${present} of ${wanted} wanted rows are in the shadow; wait for the lanes to admit the rest`,
    );
  }
  if (input.backlog > mostBacklog) {
    reasons.push(`${input.backlog} changes wait for the lanes; they must fall below ${mostBacklog}`);
  }
  if (input.lagSeconds > mostLagSeconds) {
    reasons.push(
      `changes reach the shadow ${input.lagSeconds.toFixed(1)} s late; it must be below ${mostLagSeconds} s`,
    );
  }
  reasons.push(...predictionReasons(input));
  if (report?.holds && input.inARow < input.needed) {
    reasons.push(
      `confident in ${input.inARow} of ${input.needed} evaluations in a row; wait for the next one`,
    );
  }
  return { open: reasons.length === 0, reasons };
}

/** The shadow was chosen by what a model and its features knew; both age. */
function predictionReasons({ horizonSeconds, modelAgeSeconds, logLagSeconds }: GateInput): string[] {
  const reasons: string[] = [];
  const oldest = Math.max(oldestModelAtLeast, oldestModelHorizons * horizonSeconds);
  if (modelAgeSeconds !== null && modelAgeSeconds > oldest) {
    reasons.push(
      `the model is ${time(modelAgeSeconds)} old, and at most ${time(oldest)} are allowed; a training is overdue: see ` +
        'the events and the jobs of this migration for why it does not end',
    );
  }
  const most = Math.max(mostLogLagAtLeast, mostLogLagShare * horizonSeconds);
  if (logLagSeconds !== null && logLagSeconds > most) {
    reasons.push(
      `the end of the query log was last reached ${time(logLagSeconds)} ago, and prediction may lag by at most ` +
        `${time(most)}; see that a process mines the log and keeps up with it`,
    );
  }
  return reasons;
}

/** Seconds for people. */
function time(value: number): string {
  if (value < 120) return `${Math.round(value)} s`;
  if (value < 7200) return `${(value / 60).toFixed(1)} min`;
  return `${(value / 3600).toFixed(1)} h`;
}
