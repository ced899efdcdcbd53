import type { Audit } from './ledger.ts';

/** What the demo tells the application. */
export type ToApplication =
  | {
      readonly type: 'start';
      readonly url: string;
      /** migration whose route it asks for */
      readonly migration: string;
      /** file for the record of every operation */
      readonly record: string;
      readonly seed: number;
      /** statements a second */
      readonly rate: number;
      /** length of a "day", seconds */
      readonly day: number;
    }
  | { readonly type: 'stop' };

/** What the application tells the demo. */
export type FromApplication =
  | { readonly type: 'running'; readonly at: number }
  | ({ readonly type: 'beat' } & Tally)
  | { readonly type: 'summary'; readonly summary: ApplicationSummary }
  | { readonly type: 'failed'; readonly message: string };

export interface Tally {
  readonly reads: number;
  readonly writes: number;
  readonly retries: number;
  readonly errors: number;
  /** reads that did not show what the application had committed before */
  readonly stale: number;
  /** operations that are due and have no connection yet */
  readonly waiting: number;
}

export interface ApplicationSummary extends Tally {
  /** texts of errors and how often each came, with the statement's kind and SQLSTATE in front */
  readonly errorTexts: Readonly<Record<string, number>>;
  /** rows read whose content was compared with what was committed */
  readonly compared: number;
  readonly seconds: number;
  /** share of one core that the application used itself */
  readonly cpu: number;
  /** how often it asked for the route */
  readonly routed: number;
  readonly audit: Audit;
}
