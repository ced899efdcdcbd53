import { seconds } from '../config/migration-file.ts';
import type { Context } from '../context.ts';
import type { Access } from '../core/access.ts';
import { type Migration, noteModelDrift, recordEvent } from '../migration/status.store.ts';
import { expectedHitShare, foretell, type Manifest, topPositions } from '../model/index.ts';
import type { Rival, Selection } from '../shadow/coverage.ts';
import { type Drift, driftOf } from '../shadow/drift.ts';
import { type PlainRule, type Promised, plainRules, Trial, type TrialSums } from '../shadow/trial.ts';
import type { Choice } from './choice.ts';

/** How the model in use has fared since it was trained, choice by choice; as far as this process has chosen. */
export class Trials {
  /** `created_at` of the model that is judged */
  #model: string | null = null;
  #ended: TrialSums[] = [];
  #current: Trial | null = null;

  /** Ends the trial of the choice before. Without a model there is nothing to judge. */
  begin(choice: Choice | null, migration: Migration, rivals: ReadonlyMap<Rival, Selection>): void {
    if (this.#current) this.#ended.push(this.#current.sums());
    this.#current = null;
    const manifest = choice?.manifest;
    if (!choice || !manifest) return;
    if (manifest.created_at !== this.#model) this.#ended = [];
    this.#model = manifest.created_at;
    const { keys, predictive } = choice.signals;
    const rules = new Map<PlainRule, Selection>();
    for (const rule of plainRules) rules.set(rule, rivals.get(rule) as Selection);
    const rows = rules.get('ewma')?.size ?? 0;
    const { seed } = migration.definition.shadow;
    const positions = topPositions(keys, predictive, rows, seed);
    this.#current = new Trial({
      at: choice.at,
      model: new Set(Array.from(positions, (position) => keys[position] as string)),
      rules,
      expected: promisedBy(manifest, predictive, positions),
      changeWeight: manifest.change_weight,
    });
  }

  observe(accesses: readonly Access[]): void {
    this.#current?.observe(accesses);
  }

  /** @param since seconds: trials that ended before are of another time */
  drift(since: number): { readonly model: string; readonly drift: Drift } | null {
    this.#ended = this.#ended.filter(({ until }) => until >= since);
    const drift = driftOf(this.#current ? [...this.#ended, this.#current.sums()] : this.#ended);
    return drift && this.#model !== null ? { model: this.#model, drift } : null;
  }
}

/** A choice of another size than the model was trained for, by more than this part of it, was not foretold. */
const otherSize = 0.25;

/**
 * What is said of the choice when it is made, as the backtest says it: with the bias that past windows showed taken off,
 * and with its interval.
 * @param positions of the choice in the scores
 * @returns null for a model whose error nothing is known of, and for a choice of another size
 */
function promisedBy(manifest: Manifest, scores: Float64Array, positions: Uint32Array): Promised | null {
  const { calibration, budget, table_rows: tableRows } = manifest;
  const size = budget * (tableRows ?? manifest.training.keys);
  if (!calibration.error || Math.abs(positions.length - size) > otherSize * size) return null;
  return foretell(calibration, expectedHitShare(calibration, scores, positions));
}

/** Looks at the last horizon. A model that has drifted is marked in the status, and training becomes due. */
export async function noteDrift(ctx: Context, migration: Migration, trials: Trials): Promise<void> {
  const found = trials.drift(ctx.clock.now() - seconds(migration.definition.predict.horizon));
  if (!found) return;
  const { message, ...figures } = found.drift;
  const noted = await noteModelDrift(ctx.pool, migration.id, found.model, { message, ...figures });
  if (noted)
    await recordEvent(ctx.pool, migration.id, 'drift', {
      message: `${message}; it is trained anew`,
      ...figures,
    });
}
