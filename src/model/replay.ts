import { createHash } from 'node:crypto';
import type { Access } from '../core/access.ts';
import type { FeatureEngine } from '../features/engine.ts';
import { compareAccesses } from '../features/order.ts';
import type { Breathe } from './pace.ts';

/** Accesses between two looks at the clock: about a millisecond of work. */
const STRIDE = 2048;

/**
 * The accesses strictly before `before`, in canonical order; what lies at or after it is not looked at. A log that is
 * in order already, as it nearly always is, is only copied: sorting a million accesses would hold the event loop.
 */
export async function logBefore(
  accesses: Iterable<Access>,
  before: number,
  breathe: Breathe,
): Promise<Access[]> {
  const log: Access[] = [];
  let ordered = true;
  let seen = 0;
  for (const access of accesses) {
    if (++seen % STRIDE === 0) await breathe();
    if (!(access.at < before)) continue;
    ordered &&= log.length === 0 || compareAccesses(log.at(-1)!, access) <= 0;
    log.push(access);
  }
  return ordered ? log : log.sort(compareAccesses);
}

/**
 * Plays a log into an engine, stopping on the way.
 * @param stops positions in the log, ascending
 * @param visit sees the engine as it was before the log's access at that stop; `n` counts the stops
 */
export async function replay(
  engine: FeatureEngine,
  log: readonly Access[],
  stops: readonly number[],
  breathe: Breathe,
  visit: (n: number) => void | Promise<void>,
): Promise<void> {
  let next = 0;
  for (const [n, stop] of stops.entries()) {
    next = await feed(engine, log, next, stop, breathe);
    await visit(n);
    await breathe();
  }
  await feed(engine, log, next, log.length, breathe);
}

async function feed(
  engine: FeatureEngine,
  log: readonly Access[],
  from: number,
  to: number,
  breathe: Breathe,
): Promise<number> {
  for (let i = from; i < to; i++) {
    engine.observe(log[i]!);
    if (i % STRIDE === 0) await breathe();
  }
  return to;
}

/** SHA-256 of a log: each access as one line of canonical text. */
export async function hashLog(log: readonly Access[], breathe: Breathe): Promise<string> {
  const hash = createHash('sha256');
  for (let from = 0; from < log.length; from += STRIDE) {
    let text = '';
    for (const access of log.slice(from, from + STRIDE)) {
      text += `${access.at},${JSON.stringify(access.key)},${access.op},${access.weight ?? 1}\n`;
    }
    hash.update(text);
    await breathe();
  }
  return hash.digest('hex');
}
