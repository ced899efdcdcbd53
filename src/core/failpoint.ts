import { writeSync } from 'node:fs';
import { ForeshadowError } from './errors.ts';

/**
 * Places where tests let a process die, stop, wait or fail. Each name stands at exactly one line of the protocol, in the
 * order in which a migration reaches them. Unarmed, one costs a look at a boolean.
 */
export const failpoints = [
  'plan.recorded',
  'begin.index-built',
  'begin.tables-made',
  'begin.capture-installed',
  'begin.before-commit',
  'begin.committed',
  'lane.claimed',
  'lane.reclaimed',
  'shadow.sampling-set',
  'shadow.random-wanted',
  'lane.fenced',
  'lane.members-refreshed',
  'lane.evicted',
  'lane.admitted',
  'reads.modes-set',
  'reads.routed',
  'reads.committed',
  'lane.refreshed',
  'lane.chunk-copied',
  'lane.before-commit',
  'lane.committed',
  'refresh.anew',
  'finish.unique-mode',
  'finish.index-built',
  'finish.ddl-done',
  'finish.index-settled',
  'finish.vacuumed',
  'back.compared',
  'back.tables-made',
  'unique.taken',
  'unique.collided',
  'unique.brought',
  'verify.source-compared',
  'verify.target-compared',
  'cutover.prepared',
  'cutover.writers-held',
  'cutover.drained',
  'cutover.snapshots-gone',
  'cutover.lanes-stopped',
  'cutover.readers-held',
  'stop.lanes-stopped',
  'stop.everybody-held',
  'stop.drained',
  'cutover.swapped',
  'cutover.routed',
  'cutover.committed',
  'settle.snapshots-gone',
  'settle.guard-dropped',
  'settle.names-gone',
  'finalize.status-moved',
  'finalize.taken-down',
  'finalize.old-dropped',
  'abort.routed',
  'abort.status-moved',
  'abort.taken-down',
] as const;

export type Failpoint = (typeof failpoints)[number];

interface Armed {
  readonly action: 'kill' | 'stop' | 'error' | 'sleep';
  readonly ms: number;
  /** passes that are still let through */
  left: number;
}

const armed = new Map<Failpoint, Armed>();
let any = false;

/** The names that are armed in this process: none, unless {@link armFailpoints} was called. */
export const armedFailpoints = (): readonly Failpoint[] => [...armed.keys()];

/**
 * Arms failpoints: `lane.before-commit=kill:3` ends this process as `kill -9` would at the third pass. Other actions are
 * `stop` (SIGSTOP), `error` (a failure that may be tried again) and `sleep(ms)`. Several are separated by commas.
 * @throws ForeshadowError BAD_CONFIG
 */
export function armFailpoints(text: string): void {
  for (const part of text.split(',').filter(Boolean)) {
    const match = /^([a-z.-]+)=(kill|stop|error|sleep)(?:\((\d+)\))?(?::(\d+))?$/.exec(part.trim());
    const name = match?.[1] as Failpoint;
    if (!match || !failpoints.includes(name))
      throw new ForeshadowError(
        'BAD_CONFIG',
        `FORESHADOW_FAILPOINTS: ${part} is no failpoint with its action`,
      );
    const [, , action, ms, hit] = match;
    armed.set(name, { action: action as Armed['action'], ms: Number(ms ?? 0), left: Number(hit ?? 1) - 1 });
  }
  any = armed.size > 0;
}

export function disarmFailpoints(): void {
  armed.clear();
  any = false;
}

/** Marks a place. Does nothing unless it is armed; then it acts once. */
export function failpoint(name: Failpoint): Promise<void> | undefined {
  return any ? pass(name) : undefined;
}

async function pass(name: Failpoint): Promise<void> {
  const found = armed.get(name);
  if (!found || found.left-- > 0) return;
  armed.delete(name);
  // written at once: a process that is killed flushes nothing
  writeSync(2, `failpoint ${name}: ${found.action}\n`);
  if (found.action === 'kill' || found.action === 'stop')
    process.kill(process.pid, found.action === 'kill' ? 'SIGKILL' : 'SIGSTOP');
  if (found.action === 'kill') await new Promise(() => {}); // until the signal has arrived
  if (found.action === 'error') throw Object.assign(new Error(`failpoint ${name}`), { code: '40001' });
  await new Promise((resolve) => setTimeout(resolve, found.ms));
}
