import { ForeshadowError } from '../core/errors.ts';

/** `'250ms'`, `'15m'`, `'1.5h'` → seconds. The schema has checked the form. */
export function seconds(duration: string): number {
  const match = /^([0-9.]+)(ms|s|m|h|d)$/.exec(duration);
  if (!match)
    throw new ForeshadowError('BAD_CONFIG', `not a duration: ${duration} (use 250ms, 30s, 15m, 4h, 1d)`);
  const unit = { ms: 0.001, s: 1, m: 60, h: 3600, d: 86400 }[match[2] as 'ms' | 's' | 'm' | 'h' | 'd'];
  return Number(match[1]) * unit;
}
