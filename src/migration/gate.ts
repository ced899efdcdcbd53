import type { ConfidenceReport } from '../confidence/report.ts';

/** Log rows waiting beyond this, or older than this, mean that lanes do not keep up: reads would go to S again. */
const mostBacklog = 20_000;
const mostLagSeconds = 5;
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
  if (report?.holds && input.inARow < input.needed) {
    reasons.push(
      `confident in ${input.inARow} of ${input.needed} evaluations in a row; wait for the next one`,
    );
  }
  return { open: reasons.length === 0, reasons };
}
