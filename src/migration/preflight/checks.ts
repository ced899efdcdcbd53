import type { ErrorCode } from '../../core/errors.ts';
import { ForeshadowError } from '../../core/errors.ts';

/** One line of `foreshadow doctor`. A refused check carries the error that `run` would stop with. */
export interface Check {
  readonly id: string;
  readonly status: 'ok' | 'warn' | 'refuse';
  readonly message: string;
  readonly code?: ErrorCode;
  readonly hint?: string;
  readonly detail?: Readonly<Record<string, unknown>>;
}

export const ok = (id: string, message: string): Check => ({ id, status: 'ok', message });
export const warn = (id: string, message: string, hint?: string): Check =>
  hint === undefined ? { id, status: 'warn', message } : { id, status: 'warn', message, hint };

export function refuse(id: string, error: ForeshadowError): Check {
  return {
    id,
    status: 'refuse',
    message: error.message,
    code: error.code,
    hint: error.hint,
    detail: error.detail,
  };
}

/** The first refusal, as the error it stands for; the others ride along in its detail. */
export function firstRefusal(checks: readonly Check[]): ForeshadowError | null {
  const refused = checks.filter((check) => check.status === 'refuse');
  const first = refused[0];
  if (!first?.code) return null;
  const detail: Record<string, unknown> = { ...first.detail };
  if (refused.length > 1) detail.also = refused.slice(1).map((check) => check.message);
  return new ForeshadowError(first.code, first.message, detail);
}
