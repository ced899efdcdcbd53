import type { Access } from '../core/access.ts';
import { type Clock, systemClock } from '../core/clock.ts';
import type { FeatureEngine } from '../features/engine.ts';
import { featureSpecHash } from '../features/spec.ts';
import { loadTensorflow, type Tensorflow } from './backend.ts';
import { type Calibration, calibrate } from './calibration.ts';
import { hindsightOf } from './calibration-error.ts';
import type { Base } from './expectation.ts';
import { type Fit, fitNetwork } from './fit.ts';
import type { Budget } from './judge.ts';
import { MANIFEST_SCHEMA, type Manifest, type Shares } from './manifest.ts';
import { createNetwork, standardOf } from './network.ts';
import { pacer } from './pace.ts';
import { type Past, pastBefore, type World } from './past.ts';
import { isCorrecting, Predictor, skipColumns } from './predictor.ts';
import { type Recipe, usualRecipe } from './recipe.ts';
import { hashLog } from './replay.ts';
import { LEAST_WINDOWS } from './schedule.ts';
import { type Choice, choosePredictor, type PredictorName, pastMean } from './select.ts';
import { type Survey, samplesAt, survey, type Tried, type TriedHalfLives } from './survey.ts';
import { type ValidatedNetwork, validateNetwork } from './validate.ts';

const SAMPLE_ROWS = 100_000;
/** Without a past window to tune on: long enough to be steady, short enough to follow the horizon. */
const UNTUNED_HALF_LIFE = 2;

export interface TrainOptions {
  /** any order; those at or after `now` are not looked at */
  readonly accesses: Iterable<Access>;
  /** T, seconds, in the accesses' time */
  readonly now: number;
  readonly horizonSeconds: number;
  /** groups and announced events */
  readonly world?: World;
  /** share of the rows that a choice may hold, 0–1 */
  readonly budget: number;
  /** rows of the table; when absent the budget is a share of the keys seen so far */
  readonly tableRows?: number;
  readonly seed: number;
  /** what a change counts beside a read; 1 when absent */
  readonly changeWeight?: number;
  /** `if-chosen` (default) spares the final training when the network lost; `always` trains it for comparison */
  readonly network?: 'if-chosen' | 'always';
  /** the usual one when absent */
  readonly recipe?: Partial<Recipe>;
  /** for `created_at` only */
  readonly clock?: Pick<Clock, 'now'>;
}

export interface Trained {
  readonly manifest: Manifest;
  readonly predictor: Predictor;
  /** all accesses before `now`, ready to be scored or to observe more */
  readonly engine: FeatureEngine;
}

/**
 * Learns from the past which rows the next horizon needs: tunes the EWMA and the group's share on past windows,
 * compares them with LFU, the network and their mix on windows that each had not seen, and keeps the one that proved
 * itself (the EWMA, if none did; the manifest says why). Gives way to other work of the process every few milliseconds.
 *
 * Deleting every access at or after `now` changes no bit of the result, and neither does the order of the input.
 */
export async function trainModel(options: TrainOptions): Promise<Trained> {
  const [trained] = await trainModels({ ...options, budgets: [options.budget] });
  return trained!;
}

/** The same for several budgets, which share the engine and, where it is the same, the network. */
export async function trainModels(
  options: Omit<TrainOptions, 'budget'> & { readonly budgets: readonly number[] },
): Promise<Trained[]> {
  const { now, horizonSeconds, seed, budgets, tableRows, changeWeight = 1 } = options;
  const tensorflow = await loadTensorflow();
  const past = await pastBefore({ ...options, changeWeight, breathe: pacer() });
  const { tested, pools } = poolsOf(budgets);
  const sizes = tested.map(
    (share): Budget =>
      (seen) =>
        Math.max(1, Math.round(share * (tableRows ?? seen))),
  );
  const always = options.network === 'always';
  const trainable = past.schedule.validation.length > 0 || always;
  const found = await survey(past, sizes, trainable ? SAMPLE_ROWS : 0);
  const recipe = { ...usualRecipe, ...options.recipe };
  const networks = new Networks(tensorflow, past, sizes, found, recipe);
  const sha256 = await hashLog(past.log, past.breathe);
  const trained: Trained[] = [];
  for (const [n, budget] of budgets.entries()) {
    const pool = pools[n]!;
    const tuned = tune(past, found, pool);
    const choice = await choose(past, found, networks, tuned, pool);
    const shares = await windowShares(past, found, networks, tuned, pool.own);
    const wanted = isCorrecting(choice.predictor) || always;
    const fit = wanted ? await networks.final(tuned.base) : undefined;
    const network = fit?.network ?? untrainedNetwork(tensorflow, past, tuned.base, recipe);
    const manifest: Manifest = {
      schema: MANIFEST_SCHEMA,
      created_at: new Date((options.clock ?? systemClock).now() * 1000).toISOString(),
      training: {
        sha256,
        events: past.log.length,
        keys: found.engine.size,
        from: past.log[0]?.at ?? null,
        until: now,
      },
      feature_spec: past.spec as Manifest['feature_spec'],
      feature_spec_hash: featureSpecHash(past.spec),
      seed,
      horizon_seconds: horizonSeconds,
      half_life: tuned.halfLife,
      group_half_life: tuned.groupHalfLife,
      base: tuned.base.name,
      change_weight: changeWeight,
      budget,
      table_rows: tableRows ?? null,
      predictor: choice.predictor,
      reason: choice.reason,
      gains: choice.gains,
      calibration: await calibrationOf(choice.predictor, past, found, networks, tuned, pool.own),
      metrics: found.windows.map(({ at, rows }, i) => ({ at, rows: rows[pool.own]!, shares: shares[i]! })),
      network: {
        trained: fit !== undefined,
        rows: fit?.rows ?? 0,
        steps: fit?.steps ?? 0,
        loss_before: fit?.lossBefore ?? null,
        loss_after: fit?.lossAfter ?? null,
      },
      unknown: unknownCounts(found, tableRows),
      tfjs_version: tensorflow.backend.version,
      backend: tensorflow.backend.name,
    };
    trained.push({ manifest, predictor: new Predictor(tensorflow, network, manifest), engine: found.engine });
  }
  return trained;
}

/** Frees the networks of several, some of which may share theirs. */
export function disposeAll(trained: readonly Trained[]): void {
  const own = new Map(trained.map(({ predictor }) => [predictor.network, predictor]));
  for (const predictor of own.values()) predictor.dispose();
}

/** Networks by what they correct: two budgets with one half-life share theirs. */
class Networks {
  readonly #tensorflow: Tensorflow;
  readonly #past: Past;
  readonly #budgets: readonly Budget[];
  readonly #found: Survey;
  readonly #recipe: Recipe;
  readonly #validated = new Map<string, Promise<ValidatedNetwork>>();
  readonly #final = new Map<string, Promise<Fit | undefined>>();

  constructor(tensorflow: Tensorflow, past: Past, budgets: readonly Budget[], found: Survey, recipe: Recipe) {
    this.#tensorflow = tensorflow;
    this.#past = past;
    this.#budgets = budgets;
    this.#found = found;
    this.#recipe = recipe;
  }

  validated(base: Base): Promise<ValidatedNetwork> {
    return once(this.#validated, base, () =>
      validateNetwork(this.#tensorflow, this.#past, this.#budgets, this.#found.samples, base, {
        rows: SAMPLE_ROWS,
        recipe: this.#recipe,
      }),
    );
  }

  /** undefined when there is nothing to learn from */
  final(base: Base): Promise<Fit | undefined> {
    return once(this.#final, base, async () => {
      const { schedule, spec, seed, breathe } = this.#past;
      const rows = samplesAt(this.#found.samples, schedule.referencesBefore(0), SAMPLE_ROWS);
      if (rows.rows === 0) return undefined;
      return fitNetwork(this.#tensorflow, rows, {
        skip: skipColumns(spec, base),
        seed,
        recipe: this.#recipe,
        columns: spec.columns,
        breathe,
      });
    });
  }
}

function once<T>(known: Map<string, Promise<T>>, base: Base, make: () => Promise<T>): Promise<T> {
  const name = `${base.name} ${base.halfLife}`;
  let found = known.get(name);
  if (!found) {
    found = make();
    known.set(name, found);
  }
  return found;
}

/** Where hit shares at a budget are found, among those at all budgets that are tested. */
interface Pool {
  readonly own: number;
  /** half of it, itself, twice as much: a ranking that is better is so there too, and chance is not at all three alike */
  readonly near: readonly number[];
}

function poolsOf(budgets: readonly number[]): { tested: number[]; pools: Pool[] } {
  const near = budgets.map((share) => [share / 2, share, Math.min(1, 2 * share)]);
  const tested = [...new Set(near.flat())];
  const pools = near.map((shares, n) => ({
    own: tested.indexOf(budgets[n]!),
    near: shares.map((share) => tested.indexOf(share)),
  }));
  return { tested, pools };
}

/** By window, the mean over a pool. */
const pooled = ({ shares }: Pick<Tried, 'shares'>, { near }: Pool): number[] =>
  shares.map((window) => near.reduce((sum, budget) => sum + window[budget]!, 0) / near.length);

interface Tuned {
  readonly halfLife: Manifest['half_life'];
  readonly groupHalfLife: Manifest['half_life'];
  readonly base: Base;
}

function tune({ spec, schedule }: Past, found: Survey, pool: Pool): Tuned {
  const windows = found.windows.length;
  const untuned = {
    index: spec.accessHalfLives.indexOf(UNTUNED_HALF_LIFE),
    mean: 0,
    reason: `the log holds ${schedule.history.toFixed(2)} horizons, too few to tune on`,
  };
  const best = (halfLives: TriedHalfLives) => {
    let top = untuned;
    if (windows === 0) return top;
    halfLives.forEach((tried, index) => {
      if (!tried) return;
      const mean = pastMean(pooled(tried, pool));
      const reason = `the best mean hit share on ${windows} past windows`;
      if (top === untuned || mean > top.mean) top = { index, mean, reason };
    });
    return top;
  };
  const described = ({ index, reason }: typeof untuned) => ({
    index,
    seconds: spec.accessHalfLives[index]! * spec.horizonSeconds,
    reason,
  });
  const ewma = best(found.ewma);
  const group = best(found.group);
  const sharesOf = (tried: Tried | null | undefined) => (tried ? pooled(tried, pool) : []);
  // what the network corrects is chosen as a predictor is: a gain within its error is none
  const base = choosePredictor(
    { ewma: sharesOf(found.ewma[ewma.index]), group: sharesOf(found.group[group.index]) },
    schedule.validation.length || windows,
  ).predictor;
  const name = base === 'group' ? 'group' : 'ewma';
  return {
    halfLife: described(ewma),
    groupHalfLife: described(group),
    base: { name, halfLife: (name === 'group' ? group : ewma).index },
  };
}

/** How each predictor did on the past windows that it was tried on. */
async function trials(
  { schedule }: Past,
  found: Survey,
  networks: Networks,
  { halfLife, groupHalfLife, base }: Tuned,
): Promise<Partial<Record<PredictorName, Trials>>> {
  const tuning = found.windows.map(({ offset }) => offset);
  const validation = schedule.validation.flatMap(({ windows }) => windows);
  const group = found.group[groupHalfLife.index];
  const plain = { lfu: found.lfu, ewma: found.ewma[halfLife.index]!, ...(group && { group }) };
  const corrected: Partial<ValidatedNetwork> = validation.length > 0 ? await networks.validated(base) : {};
  return Object.fromEntries([
    ...Object.entries(plain).map(([name, tried]) => [name, { ...tried, offsets: tuning }]),
    ...Object.entries(corrected).map(([name, tried]) => [name, { ...tried, offsets: validation }]),
  ]);
}

interface Trials extends Tried {
  /** of the windows */
  readonly offsets: readonly number[];
}

/** Hit shares at one budget, one a tuning window; where networks were not tried, they have none. */
async function windowShares(
  past: Past,
  found: Survey,
  networks: Networks,
  tuned: Tuned,
  budget: number,
): Promise<Shares[]> {
  const all = Object.entries(await trials(past, found, networks, tuned));
  return found.windows.map(({ offset, shares }) => ({
    ...shares[budget],
    ...Object.fromEntries(
      all.flatMap(([name, { offsets, shares: own }]) => {
        const at = offsets.indexOf(offset);
        return at < 0 ? [] : [[name, own[at]![budget]!]];
      }),
    ),
  }));
}

/** From what the chosen predictor's scores went with on past windows. */
async function calibrationOf(
  name: PredictorName,
  past: Past,
  found: Survey,
  networks: Networks,
  tuned: Tuned,
  budget: number,
): Promise<Calibration> {
  const { offsets, shares, bins } = (await trials(past, found, networks, tuned))[name]!;
  const windows = offsets.map((offset, i) => ({
    offset,
    bins: bins[i]!,
    unseenShare: found.windows.find((window) => window.offset === offset)!.unseenShare,
    realised: shares[i]![budget]!,
  }));
  return { ...calibrate(bins, windows.at(-1)?.unseenShare ?? 0), ...hindsightOf(windows, budget) };
}

/** Compares the predictors on the past windows that all of them were tried on. */
async function choose(
  past: Past,
  found: Survey,
  networks: Networks,
  tuned: Tuned,
  pool: Pool,
): Promise<Choice> {
  const { history, validation } = past.schedule;
  if (history < 2) {
    const reason = `the log holds ${history.toFixed(2)} horizons, less than the 2 that a comparison needs`;
    return { predictor: 'ewma', reason, gains: {} };
  }
  if (validation.length === 0) {
    const reason = `the log holds ${history.toFixed(2)} horizons; comparing predictors needs about 5, for ${LEAST_WINDOWS} separate past windows with training rows before each`;
    return { predictor: 'ewma', reason, gains: {} };
  }
  const windows = validation.flatMap((each) => each.windows);
  const compared = Object.entries(await trials(past, found, networks, tuned)).map(([name, tried]) => {
    const shares = pooled(tried, pool);
    return [name, windows.map((offset) => shares[tried.offsets.indexOf(offset)]!)];
  });
  return choosePredictor(Object.fromEntries(compared), validation.length);
}

/** The network before its first step: it is what it would correct, and can be saved like any other. */
function untrainedNetwork(tensorflow: Tensorflow, { spec, seed }: Past, base: Base, { hidden }: Recipe) {
  const columns = spec.columns.length;
  const standard = standardOf(new Float32Array(0), columns);
  return createNetwork(tensorflow, { columns, standard, skip: skipColumns(spec, base), hidden, seed });
}

/** Mean counts per window and row of rows that had not been seen. Zero when the size of the table is not known. */
function unknownCounts({ unseen }: Survey, tableRows: number | undefined): Manifest['unknown'] {
  if (tableRows === undefined || unseen.length === 0) return { accesses: 0, changes: 0 };
  const mean = (of: 'accesses' | 'changes') =>
    unseen.reduce((sum, window) => sum + window[of] / Math.max(1, tableRows - window.seen), 0) /
    unseen.length;
  return { accesses: mean('accesses'), changes: mean('changes') };
}
