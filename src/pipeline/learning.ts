import { seconds } from '../config/migration-file.ts';
import type { Context } from '../context.ts';
import { ForeshadowError } from '../core/errors.ts';
import { featureSpec } from '../features/spec.ts';
import { type Migration, recordEvent, updateStatus } from '../migration/status.store.ts';
import { listVersions, loadModel, type Predictor, saveModel, trainModel } from '../model/index.ts';
import type { Observation } from './observation.ts';

/** Below this many accesses there is nothing to learn; prediction rests on recent use until then. */
export const fewestAccesses = 1000;

/** Trains on everything seen so far, saves the model under the migration's name, and takes it into use. */
export async function learn(
  ctx: Context,
  migration: Migration,
  observation: Observation,
): Promise<Predictor | null> {
  const { predict, shadow } = migration.definition;
  if (observation.accesses.length < fewestAccesses) {
    const reason = `${observation.accesses.length} accesses seen, ${fewestAccesses} needed to train; the shadow follows recent use and changes`;
    await updateStatus(ctx.pool, migration.id, { model: { predictor: 'recent use', reason } });
    return null;
  }
  const { predictor, engine, manifest } = await trainModel({
    accesses: observation.accesses.slice(),
    now: ctx.clock.now(),
    horizonSeconds: seconds(predict.horizon),
    budget: shadow.fraction,
    tableRows: Math.max(1, Number(migration.rows_total)),
    seed: shadow.seed,
    changeWeight: predict.changeWeight,
    clock: ctx.clock,
  });
  // What was observed while training went on must not be missing from the engine that takes over.
  const known = manifest.training.events;
  engine.observeAll(
    observation.accesses.slice(known).filter((access) => access.at >= manifest.training.until),
  );
  observation.engine = engine;
  const saved = await saveModel(ctx.config.modelsDir, migration.name, predictor);
  const model = describeModel(migration.name, saved.version, predictor);
  await updateStatus(ctx.pool, migration.id, { model });
  await recordEvent(ctx.pool, migration.id, 'model', { ...model, metrics: manifest.metrics });
  return predictor;
}

/** The newest saved model, after a restart. One that does not fit is said to, and training starts over. */
export async function recall(ctx: Context, migration: Migration): Promise<Predictor | null> {
  const versions = await listVersions(ctx.config.modelsDir, migration.name);
  if (!versions.length) return null;
  try {
    const expected = featureSpec(seconds(migration.definition.predict.horizon));
    return await loadModel(ctx.config.modelsDir, migration.name, undefined, expected);
  } catch (error) {
    if (!(error instanceof ForeshadowError) || error.code !== 'MODEL_REFUSED') throw error;
    ctx.log.warn({ err: error }, 'the saved model is not used; training anew');
    await recordEvent(ctx.pool, migration.id, 'warning', { message: error.message });
    return null;
  }
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
