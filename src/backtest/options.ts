import type { Access } from '../core/access.ts';
import { ForeshadowError } from '../core/errors.ts';
import type { KeyId } from '../core/key.ts';

const UNITS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };

/** A horizon as it was asked for: a share of the trace's span, or seconds. */
export type Horizon = { readonly share: number } | { readonly seconds: number };

/** @param text a share such as 0.1, or a time such as 14400s, 15m, 4h, 1d @throws ForeshadowError USAGE */
export function parseHorizon(text: string): Horizon {
  const [, number = '', unit] = /^([0-9.]+)([smhd]?)$/.exec(text.trim()) ?? [];
  const value = Number(number);
  if (number === '' || !(value > 0) || !Number.isFinite(value)) {
    throw new ForeshadowError(
      'USAGE',
      `a horizon is a share of the events' span (0.1) or a time (14400s, 4h), not "${text}"`,
    );
  }
  if (unit) return { seconds: value * UNITS[unit]! };
  if (value < 1) return { share: value };
  throw new ForeshadowError('USAGE', `a horizon of ${text} needs a unit: ${text}s, or a share below 1`);
}

/** Numbers between 0 and 1, exclusive, separated by commas; in their order, each once. @throws ForeshadowError USAGE */
export function parseShares(text: string, what: string): number[] {
  const shares = text.split(',').map((part) => {
    const share = Number(part);
    if (part.trim() === '' || !(share > 0 && share < 1)) {
      throw new ForeshadowError(
        'USAGE',
        `${what} must be numbers between 0 and 1, such as 0.1, not "${part}"`,
      );
    }
    return share;
  });
  return [...new Set(shares)];
}

export interface Cut {
  /** share of the span; null when the time was given */
  readonly cut: number | null;
  /** seconds */
  readonly at: number;
  readonly horizonSeconds: number;
}

/**
 * Where to cut. Shares are of the trace's time span. With `at`, they are of the span from the first event to it: what
 * comes after may be missing, and must not matter.
 * @param accesses in time order
 * @throws ForeshadowError USAGE
 */
export function cutsOf(
  accesses: readonly Access[],
  asked: { readonly cuts: readonly number[]; readonly at?: number | undefined; readonly horizon: Horizon },
): Cut[] {
  const first = accesses[0]?.at;
  const last = accesses.at(-1)?.at;
  if (first === undefined || last === undefined)
    throw new ForeshadowError('USAGE', 'there are no events to look at');
  const { at, horizon } = asked;
  if (at === undefined && last <= first)
    throw new ForeshadowError('USAGE', 'all events have one time: nothing can be cut');
  if (at !== undefined && at <= first)
    throw new ForeshadowError('USAGE', `there are no events before ${at}; the first is at ${first}`);
  const span = (at ?? last) - first;
  const horizonSeconds = 'seconds' in horizon ? horizon.seconds : horizon.share * span;
  if (at !== undefined) return [{ cut: null, at, horizonSeconds }];
  return asked.cuts.map((cut) => ({ cut, at: first + cut * span, horizonSeconds }));
}

/** The part of a key before its first colon; null when it has none. */
export function prefixGroup(key: KeyId): string | null {
  const colon = key.indexOf(':');
  return colon < 0 ? null : key.slice(0, colon);
}
