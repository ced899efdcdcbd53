import { forgetAccesses } from '../access/store.queries.ts';
import { seconds } from '../config/migration-file.ts';
import type { Context } from '../context.ts';
import { shadowFraction } from '../migration/shadow-size.store.ts';
import { type Migration, recordEvent, updateStatus } from '../migration/status.store.ts';
import { type Predictor, saveModel, trainModel } from '../model/index.ts';
import { keptAccesses } from './mining.ts';
import { observedSoFar } from './observation.ts';
import { type Announced, announcedTo, worldOf } from './world.ts';

/** Below this many accesses there is nothing to learn; prediction rests on recent use until then. */
export const fewestAccesses = 1000;

/** A model is trained anew after this many horizons. */
const retrainHorizons = 8;
/** Until there is a first one, whether enough was seen is asked this often, in seconds. */
const firstTryEvery = 60;

export interface Learnt {
  readonly version: string;
  readonly predictor: Predictor;
}

/** Trains on everything seen so far and saves the model under the migration's name. @returns null when it was too little */
export async function learn(ctx: Context, migration: Migration): Promise<Learnt | null> {
  const { predict, shadow } = migration.definition;
  await updateStatus(ctx.pool, migration.id, { train_tried_at: new Date(ctx.clock.now() * 1000) });
  await forgetAccesses(ctx.pool, migration.id, keptAccesses);
  const accesses = await observedSoFar(ctx, migration);
  if (accesses.length < fewestAccesses) {
    const reason = `${accesses.length} accesses seen, ${fewestAccesses} needed to train; the shadow follows recent use and changes`;
    if (!versionOf(migration)) {
      const announced = describeAnnounced(await announcedTo(ctx, migration));
      await updateStatus(ctx.pool, migration.id, {
        model: { predictor: 'recent use', reason, ...announced },
      });
    }
    return null;
  }
  const { world, announced } = await worldOf(ctx, migration, accesses);
  const { predictor, manifest } = await trainModel({
    accesses,
    now: ctx.clock.now(),
    horizonSeconds: seconds(predict.horizon),
    world,
    budget: shadowFraction(migration),
    tableRows: Math.max(1, Number(migration.rows_total)),
    seed: shadow.seed,
    changeWeight: predict.changeWeight,
    clock: ctx.clock,
  });
  const saved = await saveModel(ctx.config.modelsDir, migration.name, predictor);
  const model = {
    ...describeModel(migration.name, saved.version, predictor),
    ...describeAnnounced(announced),
  };
  await updateStatus(ctx.pool, migration.id, { model });
  await recordEvent(ctx.pool, migration.id, 'model', { ...model, metrics: manifest.metrics });
  return { version: saved.version, predictor };
}

/** Whether the last attempt to train is old enough for another one: after a drift, one horizon old. */
export function trainingIsDue(migration: Migration, now: number): boolean {
  const tried = migration.train_tried_at as Date | null;
  const known = versionOf(migration) !== undefined;
  const usual = retrainHorizons * seconds(migration.definition.predict.horizon);
  const { drift } = (migration.model ?? {}) as { drift?: unknown };
  const soonest = drift === undefined ? usual : seconds(migration.definition.predict.horizon);
  const every = known ? soonest : Math.min(usual, firstTryEvery);
  return tried === null || now - tried.getTime() / 1000 >= every;
}

const versionOf = (migration: Migration) => (migration.model as { version?: string } | null)?.version;

/** In the status beside the model: how many events it knows of, and why not more. */
function describeAnnounced({ events, problems }: Announced): Record<string, unknown> {
  if (events.length === 0 && problems.length === 0) return {};
  return { announced_events: events.length, announced_problems: problems };
}

function describeModel(name: string, version: string, { manifest }: Predictor): Record<string, unknown> {
  return {
    name,
    version,
    predictor: manifest.predictor,
    reason: manifest.reason,
    half_life_s: manifest.half_life.seconds,
    half_life_index: manifest.half_life.index,
    events: manifest.training.events,
    keys: manifest.training.keys,
    trained_at: manifest.created_at,
    gains: manifest.gains,
  };
}
