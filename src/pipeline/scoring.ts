import type { KeyId } from '../core/key.ts';
import type { Migration } from '../migration/status.store.ts';
import { recentUse } from '../model/index.ts';
import type { Live } from './live.ts';

/** What the scores rest on. */
export interface ScoringModel {
  readonly name: string;
  /** null while there is no model: then scores are recent use, scaled to one horizon */
  readonly version: string | null;
  readonly predictor: string;
  /** seconds since the epoch; null without a model */
  readonly trained_until: number | null;
  readonly horizon_s: number;
}

/** Expected counts in the next horizon; the arrays run parallel to the keys asked for. */
export interface KeyScores {
  readonly model: ScoringModel;
  readonly score: Float64Array;
  readonly accesses: Float64Array;
  readonly changes: Float64Array;
  /** false: the key was never seen, and has the score of such rows */
  readonly known: readonly boolean[];
}

/** Scores keys from the live features as they are; catch up first. */
export async function scoreKeys(
  live: Live,
  migration: Migration,
  keys: readonly KeyId[],
  now: number,
): Promise<KeyScores> {
  const { observation } = live;
  const engine = observation?.engine;
  if (!engine) throw new Error('nothing has been observed yet: follow the migration first');
  const known: boolean[] = [];
  const slots: number[] = [];
  for (const key of keys) {
    const slot = engine.slotOf(key);
    known.push(slot !== undefined);
    if (slot !== undefined) slots.push(slot);
  }
  const unseen = keys.filter((_, i) => !known[i]);
  const groups = unseen.length > 0 ? await observation.groupsOf(migration, unseen) : new Map<KeyId, string>();
  return live.withPredictor(async (predictor) => {
    const found = predictor
      ? await predictor.scoreSlots(engine, now, Int32Array.from(slots))
      : recentUse(engine, now, Int32Array.from(slots));
    const nothing = { score: 0, accesses: 0, changes: 0 };
    const unknown = (key: KeyId) =>
      predictor?.scoreUnknown(engine.outlook(now, groups.get(key) ?? null)) ?? nothing;
    const spread = (name: 'score' | 'accesses' | 'changes') => {
      let next = 0;
      return Float64Array.from(keys, (key, i) =>
        known[i] ? (found[name][next++] as number) : unknown(key)[name],
      );
    };
    return {
      model: {
        name: migration.name,
        version: live.modelVersion,
        predictor: predictor?.manifest.predictor ?? 'recent use',
        trained_until: predictor?.manifest.training.until ?? null,
        horizon_s: engine.spec.horizonSeconds,
      },
      score: spread('score'),
      accesses: spread('accesses'),
      changes: spread('changes'),
      known,
    };
  });
}
