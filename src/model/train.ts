import type { Access } from '../core/access.ts';
import { type Clock, systemClock } from '../core/clock.ts';
import type { FeatureEngine } from '../features/engine.ts';
import { featureSpec, featureSpecHash } from '../features/spec.ts';
import { loadTensorflow, type Tensorflow } from './backend.ts';
import { type Fit, fitNetwork } from './fit.ts';
import { MANIFEST_SCHEMA, type Manifest } from './manifest.ts';
import { createNetwork, standardOf } from './network.ts';
import { pacer } from './pace.ts';
import { Predictor, skipColumns } from './predictor.ts';
import { hashLog, logBefore } from './replay.ts';
import { LEAST_WINDOWS, schedule } from './schedule.ts';
import { type Choice, choosePredictor } from './select.ts';
import { type Past, type Survey, samplesAt, survey, validateNetwork } from './validate.ts';
import { positionOf } from './windows.ts';

const SAMPLE_ROWS = 100_000;
const VALIDATION_ROWS = 40_000;
const EPOCHS = 6;
/** Without a past window to tune on: long enough to be steady, short enough to follow the horizon. */
const UNTUNED_HALF_LIFE = 2;

export interface TrainOptions {
  /** any order; those at or after `now` are not looked at */
  readonly accesses: Iterable<Access>;
  /** T, seconds, in the accesses' time */
  readonly now: number;
  readonly horizonSeconds: number;
  /** share of the rows that a choice may hold, 0–1 */
  readonly budget: number;
  /** rows of the table; when absent the budget is a share of the keys seen so far */
  readonly tableRows?: number;
  readonly seed: number;
  /** what a change counts beside a read; 1 when absent */
  readonly changeWeight?: number;
  /** `if-chosen` (default) spares the final training when the network lost; `always` trains it for comparison */
  readonly network?: 'if-chosen' | 'always';
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
 * Learns from the past which rows the next horizon needs: tunes the EWMA on past windows, compares it with LFU, the
 * network and their mix on windows that each had not seen, and keeps the one that proved itself (the EWMA, if none did;
 * the manifest says why). Gives way to other work of the process every few milliseconds.
 *
 * Deleting every access at or after `now` changes no bit of the result, and neither does the order of the input.
 */
export async function trainModel(options: TrainOptions): Promise<Trained> {
  const { now, horizonSeconds, seed, budget, tableRows, changeWeight = 1 } = options;
  const tensorflow = await loadTensorflow();
  const spec = featureSpec(horizonSeconds);
  const breathe = pacer();
  const log = await logBefore(options.accesses, now, breathe);
  const timeOf = (offset: number) => now - offset * horizonSeconds;
  const past: Past = {
    log,
    spec,
    schedule: schedule((now - (log[0]?.at ?? now)) / horizonSeconds),
    timeOf,
    positionOf: (offset) => positionOf(log, timeOf(offset)),
    seed,
    changeWeight,
    rowsOf: (seen) => Math.max(1, Math.round(budget * (tableRows ?? seen))),
    breathe,
  };
  const trainable = past.schedule.validation.length > 0 || options.network === 'always';
  const found = await survey(past, trainable ? SAMPLE_ROWS : 0);
  const halfLife = tune(past, found);
  const choice = await choose(tensorflow, past, found, halfLife.index);
  const wanted = choice.predictor === 'network' || choice.predictor === 'mix' || options.network === 'always';
  const fit = wanted ? await fitFinal(tensorflow, past, found, halfLife.index) : undefined;
  const network = fit?.network ?? untrainedNetwork(tensorflow, past, halfLife.index);
  const manifest: Manifest = {
    schema: MANIFEST_SCHEMA,
    created_at: new Date((options.clock ?? systemClock).now() * 1000).toISOString(),
    training: {
      sha256: await hashLog(log, past.breathe),
      events: log.length,
      keys: found.engine.size,
      from: log[0]?.at ?? null,
      until: now,
    },
    feature_spec: spec as Manifest['feature_spec'],
    feature_spec_hash: featureSpecHash(spec),
    seed,
    horizon_seconds: horizonSeconds,
    half_life: halfLife,
    change_weight: changeWeight,
    budget,
    table_rows: tableRows ?? null,
    predictor: choice.predictor,
    reason: choice.reason,
    gains: choice.gains,
    metrics: found.metrics.map(({ at, rows, shares }) => ({ at, rows, shares })),
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
  return { manifest, predictor: new Predictor(tensorflow, network, manifest), engine: found.engine };
}

function tune({ spec, schedule: { history } }: Past, { ewma }: Survey): Manifest['half_life'] {
  const windows = ewma[0]?.length ?? 0;
  const means = ewma.map((shares) => shares.reduce((a, b) => a + b, 0) / Math.max(1, windows));
  const index =
    windows > 0 ? means.indexOf(Math.max(...means)) : spec.accessHalfLives.indexOf(UNTUNED_HALF_LIFE);
  const reason =
    windows > 0
      ? `the best mean hit share on ${windows} past windows`
      : `the log holds ${history.toFixed(2)} horizons, too few to tune on`;
  return { index, seconds: spec.accessHalfLives[index]! * spec.horizonSeconds, reason };
}

/** Compares the predictors on past windows; enters their shares into the survey's metrics. */
async function choose(tensorflow: Tensorflow, past: Past, found: Survey, halfLife: number): Promise<Choice> {
  const { schedule: plan } = past;
  const ewma = found.ewma[halfLife]!;
  found.metrics.forEach((window, i) => {
    window.shares = { ...window.shares, ewma: ewma[i]! };
  });
  if (plan.history < 2) {
    const reason = `the log holds ${plan.history.toFixed(2)} horizons, less than the 2 that a comparison needs`;
    return { predictor: 'ewma', reason, gains: {} };
  }
  if (plan.validation.length === 0) {
    const reason = `the log holds ${plan.history.toFixed(2)} horizons; comparing predictors needs about 5, for ${LEAST_WINDOWS} separate past windows with training rows before each`;
    return { predictor: 'ewma', reason, gains: {} };
  }
  const options = { rows: VALIDATION_ROWS, epochs: EPOCHS };
  const own = await validateNetwork(tensorflow, past, found.samples, halfLife, options);
  const windows = plan.validation.map((offset) => found.metrics.find((window) => window.offset === offset)!);
  windows.forEach((window, i) => {
    window.shares = { ...window.shares, network: own.network[i]!, mix: own.mix[i]! };
  });
  const sharesOf = (name: 'lfu' | 'ewma') => windows.map((window) => window.shares[name]!);
  return choosePredictor({ ...own, lfu: sharesOf('lfu'), ewma: sharesOf('ewma') });
}

async function fitFinal(
  tensorflow: Tensorflow,
  past: Past,
  found: Survey,
  halfLife: number,
): Promise<Fit | undefined> {
  const rows = samplesAt(found.samples, past.schedule.references, SAMPLE_ROWS);
  if (rows.rows === 0) return undefined;
  const skip = skipColumns(past, halfLife);
  return fitNetwork(tensorflow, rows, { skip, seed: past.seed, epochs: EPOCHS, breathe: past.breathe });
}

/** The network before its first step: it is the EWMA, and can be saved like any other. */
function untrainedNetwork(tensorflow: Tensorflow, past: Past, halfLife: number) {
  const columns = past.spec.columns.length;
  const standard = standardOf(new Float32Array(0), columns);
  return createNetwork(tensorflow, { columns, standard, skip: skipColumns(past, halfLife), seed: past.seed });
}

/** Mean counts per window and row of rows that had not been seen. Zero when the size of the table is not known. */
function unknownCounts({ unseen }: Survey, tableRows: number | undefined): Manifest['unknown'] {
  if (tableRows === undefined || unseen.length === 0) return { accesses: 0, changes: 0 };
  const mean = (of: 'accesses' | 'changes') =>
    unseen.reduce((sum, window) => sum + window[of] / Math.max(1, tableRows - window.seen), 0) /
    unseen.length;
  return { accesses: mean('accesses'), changes: mean('changes') };
}
