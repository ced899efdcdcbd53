import { seededRng } from '../../src/core/rng.ts';
import { FeatureEngine } from '../../src/features/engine.ts';
import { featureSpec, featureSpecHash } from '../../src/features/spec.ts';
import { loadTensorflow, type Tensorflow } from '../../src/model/backend.ts';
import type { Manifest } from '../../src/model/manifest.ts';
import { createNetwork, type Network, standardOf } from '../../src/model/network.ts';
import { Predictor, skipColumns } from '../../src/model/predictor.ts';
import { scoringThreads } from '../../src/model/scoring-pool.ts';
import { topPositions } from '../../src/model/top.ts';
import { type BenchReport, median, round } from './server.ts';

const rounds = 3;
const budget = 0.1;
/** Rows a call of the plain network, whose speed hardly depends on it. */
const batch = 16_384;
const days = 20;
const now = days * 86_400;
/** Both seasons are in: the longest vector that there is without groups. */
const spec = featureSpec(3600);
const halfLife = spec.accessHalfLives.indexOf(2);

const goals = { ratio: 1.5, seconds: 10, bytes_per_key: 200 };

/**
 * Scores of rows that were all seen, from their counters to the chosen tenth: with threads and without, against the
 * plain network alone, one thread, on tensors of the same rows that are ready when the watch starts.
 */
export async function score(rows: number): Promise<BenchReport> {
  const { engine, ...observed } = observe(rows);
  const tensorflow = await loadTensorflow();
  const network = randomNetwork(tensorflow, engine);
  const manifest = {
    feature_spec_hash: featureSpecHash(spec),
    predictor: 'network',
    base: 'ewma',
    half_life: { index: halfLife },
    change_weight: 1,
  } as Manifest;
  const threads = scoringThreads(tensorflow.backend.name);
  const predictor = new Predictor(tensorflow, network, manifest, { threads, rowsForThreads: 0 });
  const single = new Predictor(tensorflow, network, manifest, { threads: 0 });
  const plain = plainNetwork(tensorflow);

  const before = process.memoryUsage().rss;
  const first = await whole(predictor, engine);
  const peak = process.resourceUsage().maxRSS * 1024;
  const paths: Taken[] = [];
  const alone: Taken[] = [];
  const raw: Taken[] = [];
  for (let i = 0; i < rounds; i++) {
    raw.push(predictOnly(tensorflow, plain, engine));
    paths.push(await whole(predictor, engine));
  }
  alone.push(await whole(single, engine));
  predictor.dispose();
  plain.dispose();

  const seconds = median(paths.map((taken) => taken.seconds));
  const predict = median(raw.map((taken) => taken.seconds));
  const cpu = median(paths.map((taken) => taken.cpu));
  const report = {
    rows,
    rounds,
    budget,
    backend: tensorflow.backend.name,
    threads,
    ...observed,
    seconds: round(seconds, 2),
    top_seconds: round(median(paths.map((taken) => taken.top)), 2),
    first_seconds: round(first.seconds, 2),
    one_thread_seconds: round(median(alone.map((taken) => taken.seconds)), 2),
    predict_seconds: round(predict, 2),
    cpu_seconds: round(cpu, 2),
    predict_cpu_seconds: round(median(raw.map((taken) => taken.cpu)), 2),
    ratio: round(seconds / predict, 2),
    rows_per_s: Math.round(rows / seconds),
    memory_before_mb: Math.round(before / 1e6),
    memory_most_mb: Math.round(peak / 1e6),
  };
  const met = {
    goal_ratio: report.ratio <= goals.ratio,
    goal_seconds: seconds <= (goals.seconds * rows) / 10_000_000,
    goal_bytes_per_key: observed.bytes_per_key <= goals.bytes_per_key,
  };
  process.stderr.write(table(report, met));
  return { ...report, ...met };
}

/** One event a key, in order, and as many again that are skewed: a few keys get most of them. */
function observe(rows: number) {
  const engine = new FeatureEngine(spec);
  const heap = process.memoryUsage().heapUsed;
  const event = { key: '', op: 'R' as 'R' | 'W', at: 0 };
  const rng = seededRng(1);
  const keys = engine.keys();
  const seen = (key: string, i: number) => {
    event.key = key;
    event.op = i % 8 === 0 ? 'W' : 'R';
    event.at = (now * (i % rows)) / rows;
    engine.observe(event);
  };
  const started = performance.now();
  for (let i = 0; i < rows; i++) seen(String(100_000_000 + i), i);
  const between = performance.now();
  for (let i = 0; i < rows; i++) seen(keys[Math.floor(rows * rng() ** 3)]!, i);
  const ended = performance.now();
  const index = (process.memoryUsage().heapUsed - heap) / rows;
  return {
    engine,
    new_keys_per_s: Math.round((1000 * rows) / (between - started)),
    events_per_s: Math.round((1000 * rows) / (ended - between)),
    bytes_per_key: round(bytesOf(engine) / rows, 1),
    /** the map from keys to slots with the keys themselves, which are 32 bytes each */
    index_bytes_per_key: round(index, 1),
  };
}

/** What the engine holds in typed arrays, room that is not used yet included. */
const bytesOf = (engine: FeatureEngine): number => engine.moment(now).rows.f64.byteLength;

interface Taken {
  readonly seconds: number;
  readonly top: number;
  /** of all threads: what a machine with other work does not distort */
  readonly cpu: number;
}

const cpuSeconds = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
};

async function whole(predictor: Predictor, engine: FeatureEngine): Promise<Taken> {
  const cpu = cpuSeconds();
  const started = performance.now();
  const { keys, score: scores } = await predictor.score(engine, now);
  const scored = performance.now();
  const chosen = topPositions(keys, scores, Math.round(budget * engine.size), 1);
  const ended = performance.now();
  if (chosen.length !== Math.round(budget * engine.size)) throw new Error('too few rows were chosen');
  return { seconds: (ended - started) / 1000, top: (ended - scored) / 1000, cpu: cpuSeconds() - cpu };
}

/** What predicting takes, without making the features and without copying them to the backend. */
function predictOnly({ tf }: Tensorflow, model: PlainModel, engine: FeatureEngine): Taken {
  let took = 0;
  let cpu = 0;
  for (let from = 0; from < engine.size; from += batch) {
    const to = Math.min(engine.size, from + batch);
    const input = tf.tensor2d(engine.matrixRange(now, from, to), [to - from, spec.columns.length]);
    const cpuBefore = cpuSeconds();
    const started = performance.now();
    const output = model.predict(input, { batchSize: batch }) as typeof input;
    output.dataSync();
    took += performance.now() - started;
    cpu += cpuSeconds() - cpuBefore;
    tf.dispose([input, output]);
  }
  return { seconds: took / 1000, top: 0, cpu };
}

type PlainModel = ReturnType<typeof plainNetwork>;

/** A network of the same size as ours, as anybody would write it. */
function plainNetwork({ layers }: Tensorflow) {
  const { dense } = layers.layers;
  const inputShape = [spec.columns.length];
  return layers.sequential({
    layers: [
      dense({ units: 16, activation: 'relu', inputShape }),
      dense({ units: 8, activation: 'relu' }),
      dense({ units: 2 }),
    ],
  });
}

/** Trained or not, a network takes the same time; but one whose corrections are all zero spares the exponentials. */
function randomNetwork(tensorflow: Tensorflow, engine: FeatureEngine): Network {
  const { tf } = tensorflow;
  const columns = spec.columns.length;
  const standard = standardOf(engine.matrixRange(now, 0, Math.min(engine.size, 100_000)), columns);
  const skip = skipColumns(spec, { name: 'ewma', halfLife });
  const network = createNetwork(tensorflow, { columns, skip, standard, hidden: [16, 8], seed: 1 });
  const layer = network.model.getLayer('correction');
  layer.setWeights(layer.getWeights().map(({ shape }) => tf.randomUniform(shape, -0.1, 0.1, 'float32', 1)));
  return network;
}

function table(report: Record<string, unknown>, met: Record<string, boolean>): string {
  const line = (name: string, value: unknown, goal = '') =>
    `  ${name.padEnd(44)}${String(value).padStart(10)}  ${goal}\n`;
  const verdict = (goal: string, holds: boolean | undefined) => `${holds ? 'met' : 'MISSED'}: ${goal}`;
  return [
    `score: ${report.rows} rows, ${report.backend}, ${report.threads} threads\n`,
    line('observed, new keys/s', report.new_keys_per_s),
    line('observed, events of known keys/s', report.events_per_s),
    line('counters to chosen tenth, s', report.seconds, verdict('10 s for 10 M rows', met.goal_seconds)),
    line('  of which choosing, s', report.top_seconds),
    line('  the first time, threads started, s', report.first_seconds),
    line('  without threads, s', report.one_thread_seconds),
    line('plain network alone, one thread, s', report.predict_seconds),
    line('processor time of both, s', `${report.cpu_seconds}, ${report.predict_cpu_seconds}`),
    line('ratio', report.ratio, verdict(`≤ ${goals.ratio}`, met.goal_ratio)),
    line('bytes a key, counters', report.bytes_per_key, verdict('≤ 200', met.goal_bytes_per_key)),
    line('bytes a key, index and the key itself', report.index_bytes_per_key),
    line('memory before and at most, MB', `${report.memory_before_mb}, ${report.memory_most_mb}`),
  ].join('');
}
