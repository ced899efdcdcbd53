import type { Context } from '../context.ts';
import type { Access } from '../core/access.ts';
import { ForeshadowError } from '../core/errors.ts';
import type { KeyId } from '../core/key.ts';
import { type Migration, recordEvent } from '../migration/status.store.ts';
import { loadModel, type Predictor, readLabels, resolveVersion } from '../model/index.ts';
import { Coverage, type Rival, type Selection } from '../shadow/coverage.ts';
import { MemberSet } from '../shadow/member-set.ts';
import { type Choice, rivalsNow, type Sampling } from './choice.ts';
import type { Known } from './measurement.ts';
import { Mining } from './mining.ts';
import { Observation } from './observation.ts';
import { Trials } from './trials.ts';
import { specOf } from './world.ts';

/** A Map ends at 16.7 million keys, and the memory of a process before. */
const mostKeys = 10_000_000;

/**
 * What one process holds in memory about a migration: live features, the model, and the measurement of coverage. All
 * of it can be rebuilt from the database, and several pieces of work may share it.
 */
export class Live {
  /** measured since the choice that it was begun with */
  coverage: Coverage | null = null;
  /** what the last evaluation of confidence learnt for the next one */
  known: Known | null = null;
  choice: Choice | null = null;
  readonly trials = new Trials();
  /** told of accesses as they are taken in */
  onObserved: ((accesses: readonly Access[]) => void) | null = null;
  readonly #ctx: Context;
  #mining: Mining | null = null;
  #observation: Observation | null = null;
  #model: { readonly version: string | undefined; readonly predictor: Predictor } | null = null;
  readonly #pinned: boolean;
  /** the version that an operator has promoted, as of the last look */
  #stable: string | undefined;
  /** versions that could not be loaded are not tried again */
  #refused: string | null = null;
  #uses = 0;
  #retired: Predictor[] = [];
  #following: Promise<unknown> = Promise.resolve();
  #measuredSince: number | null = null;
  #admittedUntil = 0;

  /** @param pinned a model to use whatever the migration goes on to train */
  constructor(
    ctx: Context,
    pinned?: { readonly version: string | undefined; readonly predictor: Predictor },
  ) {
    this.#ctx = ctx;
    this.#pinned = pinned !== undefined;
    if (pinned) this.#model = pinned;
  }

  get observation(): Observation | null {
    return this.#observation;
  }

  /** version of the model in use; null without one */
  get modelVersion(): string | null {
    return this.#model?.version ?? null;
  }

  /** The query log, to be read by this process. */
  async mining(migration: Migration): Promise<Mining> {
    this.#mining ??= await Mining.open(this.#ctx, migration);
    return this.#mining;
  }

  /** Reads the query log to its end, and follows. */
  async catchUp(migration: Migration): Promise<Observation> {
    const mining = await this.mining(migration);
    while ((await mining.step()).behind > 0);
    await mining.step(); // at the end of the log, the rows' own change times come in
    return this.follow(migration);
  }

  /** Catches up with the access store, captured changes and the model; one at a time. */
  follow(migration: Migration): Promise<Observation> {
    return this.#inTurn(() => this.#follow(migration));
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#following.then(work);
    this.#following = done.catch(() => undefined);
    return done;
  }

  async #follow(migration: Migration): Promise<Observation> {
    // Keys are never forgotten one by one; what has grown beyond this is built anew, from what the store still holds.
    if ((this.#observation?.engine.size ?? 0) > mostKeys) this.#observation = null;
    this.#observation ??= await Observation.open(this.#ctx, migration);
    const observation = this.#observation;
    const accesses = await observation.poll(migration);
    this.onObserved?.(accesses);
    // once reads are cut over there is no other choice to come
    if (migration.status !== 'IN_PROGRESS') this.trials.observe(accesses);
    await this.#followModel(migration);
    const { coverage } = this;
    if (!coverage) return observation;
    let latest = this.#admittedUntil;
    for (const [key, at] of observation.inserted) {
      if (at > this.#admittedUntil && migration.status !== 'IN_PROGRESS') coverage.admit(key);
      latest = Math.max(latest, at);
    }
    this.#admittedUntil = latest;
    await coverage.observe(accesses);
    return observation;
  }

  /** Runs `body` with the model in use, which is not disposed of before the end; null without one. */
  async withPredictor<T>(body: (predictor: Predictor | null) => Promise<T>): Promise<T> {
    this.#uses += 1;
    try {
      return await body(this.#model?.predictor ?? null);
    } finally {
      this.#uses -= 1;
      this.#disposeRetired();
    }
  }

  /** Takes a model into use that this process has just trained, unless an operator has promoted another. */
  adopt(version: string, predictor: Predictor): void {
    if (this.#stable !== undefined && this.#stable !== version) {
      predictor.dispose();
      return;
    }
    if (this.#model) this.#retired.push(this.#model.predictor);
    this.#model = { version, predictor };
    this.#disposeRetired();
  }

  /**
   * Begins to measure coverage, if the shadow was chosen anew since. The rivals choose now, which is never earlier than
   * the shadow chose, so a late start can only help them.
   */
  measureCoverage(migration: Migration): Promise<void> {
    return this.#inTurn(() => this.#measureCoverage(migration));
  }

  async #measureCoverage(migration: Migration): Promise<void> {
    const { chosen_at: chosenAt } = migration.sampling as Sampling;
    if (chosenAt === undefined || chosenAt === this.#measuredSince || !this.#observation) return;
    this.#measuredSince = chosenAt;
    const members = await MemberSet.take(this.#ctx.pool, migration.plan, ['wanted', 'present']);
    const own = this.choice?.chosenAt === chosenAt ? this.choice : null;
    const at = own?.at ?? this.#ctx.clock.now();
    const rivals = (own?.rivals ?? rivalsNow(this.#observation, migration, at))(Math.max(1, members.size));
    this.trials.begin(own, migration, rivals);
    this.coverage = new Coverage(
      at,
      members.size,
      new Map<Rival, Selection>([...rivals, ['shadow', members]]),
    );
  }

  /** Rows inserted since the last choice, which every rival admits. */
  admittedSince(at: number): Set<KeyId> {
    const keys = new Set<KeyId>();
    for (const [key, inserted] of this.#observation?.inserted ?? []) if (inserted >= at) keys.add(key);
    return keys;
  }

  dispose(): void {
    if (this.#model) this.#retired.push(this.#model.predictor);
    this.#model = null;
    this.#disposeRetired();
  }

  /** The stable model, else the one that the status row names, else the newest; one that does not fit is said to. */
  async #followModel(migration: Migration): Promise<void> {
    if (this.#pinned) return;
    const named = (migration.model as { version?: string } | null)?.version;
    const { modelsDir } = this.#ctx.config;
    let wanted: string | undefined = 'labels.json';
    try {
      this.#stable = (await readLabels(modelsDir, migration.name)).stable;
      wanted = this.#stable ?? named;
      if (wanted === undefined && this.#model) return;
      wanted ??= await resolveVersion(modelsDir, migration.name);
      if (wanted === undefined || wanted === this.#model?.version || wanted === this.#refused) return;
      this.adopt(wanted, await loadModel(modelsDir, migration.name, wanted, specOf(migration)));
    } catch (error) {
      if (!(error instanceof ForeshadowError) || error.code !== 'MODEL_REFUSED') throw error;
      if (wanted === this.#refused) return;
      this.#refused = wanted ?? null;
      this.#ctx.log.warn({ err: error }, 'the saved model is not used; prediction rests on recent use');
      await recordEvent(this.#ctx.pool, migration.id, 'warning', { message: error.message });
    }
  }

  #disposeRetired(): void {
    if (this.#uses > 0) return;
    for (const predictor of this.#retired.splice(0)) predictor.dispose();
  }
}
