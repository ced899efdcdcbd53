import { setTimeout as sleep } from 'node:timers/promises';
import type { Place } from './disturbances.ts';
import type { Afterwards, Attack } from './scenario.ts';
import type { Ending, Worker } from './workers.ts';

/** What a seed lends to the part after the write cutover. */
export interface Stage {
  /** path of the migration file */
  readonly file: string;
  start(args: readonly string[], armed: readonly Attack[]): Worker;
  /** attacks that are still to come; those that have happened are left out */
  left(): readonly Attack[];
  arm(attacks: readonly Attack[]): void;
  endOf(worker: Worker): Promise<Ending>;
  place(): Promise<Place | null>;
  say(what: string): void;
  restart(): Promise<void>;
  /** the write cutover is being taken back, or made final, from now on */
  ending(): Promise<void>;
  /** a fault has been seen, and nothing more is wanted */
  failed(): boolean;
}

/** A worker that was stopped goes on after this, when another has had its chance to take over. */
const stoppedMs = 700;
const mostTurns = 12;

/** COMPLETED → ROLLED_BACK or FINALIZED, while the writers go on. */
export async function goOn(plan: Afterwards, stage: Stage): Promise<void> {
  const keeper = await keepInStep(plan, stage);
  if (!plan.keeps && keeper && !keeper.over) {
    keeper.signal('SIGKILL');
    stage.say(`${keeper.pid} SIGKILL, and changes wait`);
    await sleep(300);
  }
  await stage.ending();
  await endIt(plan, stage);
}

/** One worker after the other keeps the old table in step. @returns the last one, at work or dead */
async function keepInStep(plan: Afterwards, stage: Stage): Promise<Worker | null> {
  const over = performance.now() + plan.window;
  const restartAt = plan.restart ? over - plan.window / 2 : Number.POSITIVE_INFINITY;
  stage.arm(plan.attacks);
  let restarted = false;
  let worker: Worker | null = null;
  while (performance.now() < over && !stage.failed()) {
    if (!worker || worker.over) worker = stage.start(['run', stage.file, '--stay'], stage.left());
    if (!restarted && performance.now() > restartAt) {
      restarted = true;
      await stage.restart();
    }
    if (worker.stopped) worker = await replace(worker, stage);
    await sleep(20);
  }
  return worker;
}

/** The zombie goes on when another worker has had its chance to take over. @returns the other */
async function replace(zombie: Worker, stage: Stage): Promise<Worker> {
  const calm = stage.left().filter((attack) => attack.action !== 'stop');
  const successor = stage.start(['run', stage.file, '--stay', '--take-over'], calm);
  await sleep(stoppedMs);
  zombie.signal('SIGCONT');
  stage.say(`${zombie.pid} SIGCONT`);
  return successor;
}

async function endIt(plan: Afterwards, stage: Stage): Promise<void> {
  const [args, wanted] =
    plan.ends === 'rolled back'
      ? ([['rollback', 'm'], 'ROLLED_BACK'] as const)
      : ([['finalize', 'm', '--drop-old'], 'FINALIZED'] as const);
  stage.arm(plan.ending);
  for (let turn = 1; !stage.failed(); turn++) {
    const worker = stage.start(args, stage.left());
    while (!worker.over && !worker.stopped && !stage.failed()) await sleep(10);
    if (worker.stopped) {
      await sleep(stoppedMs);
      worker.signal('SIGCONT');
    }
    const { code } = await stage.endOf(worker);
    const place = await stage.place();
    if (code === 0 && place?.status === wanted) return;
    if (turn > mostTurns) throw new Error(`not ${wanted} after ${turn} tries: ${worker.lastWords}`);
    await sleep(100);
  }
}
