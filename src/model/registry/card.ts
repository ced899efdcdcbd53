import { mean, sampleStandardDeviation } from 'simple-statistics';
import type { StoredManifest } from '../manifest.ts';

export interface CardOptions {
  readonly name: string;
  readonly version: string;
  readonly manifest: StoredManifest;
  /** commands that make this model again */
  readonly reproduce?: string;
}

type Window = StoredManifest['metrics'][number];

/** What a person should know before using a model, in Markdown. Everything in it comes from the manifest. */
export function modelCard({ name, version, manifest, reproduce }: CardOptions): string {
  const { training, half_life, network, feature_spec: spec } = manifest;
  const columns = spec.columns.length;
  const span = training.from === null ? 0 : training.until - training.from;
  const facts: [string, string][] = [
    ['predictor', `**${manifest.predictor}**: ${manifest.reason}`],
    [
      'horizon',
      `${duration(manifest.horizon_seconds)}: accesses and changes of a row in [T, T + horizon) are predicted`,
    ],
    ['half-life', `${duration(half_life.seconds)}, chosen by ${half_life.reason}`],
    ['budget', `${percent(manifest.budget)} of ${rowsOf(manifest.table_rows)}`],
    ['a change counts', `${manifest.change_weight} beside a read`],
    ['seed', String(manifest.seed)],
    ['trained on', `${grouped(training.events)} accesses to ${grouped(training.keys)} keys`],
    ['from, until', `${moment(training.from)} to ${moment(training.until)} (${duration(span)})`],
    ['data', `SHA-256 \`${training.sha256}\` of the accesses in time order`],
    ['features', `${columns} columns, specification \`${manifest.feature_spec_hash.slice(0, 12)}\``],
    [
      'network',
      network.trained
        ? `trained: ${grouped(network.rows)} rows, ${grouped(network.steps)} steps, weighted squared error ${loss(network.loss_before)} → ${loss(network.loss_after)}`
        : 'not trained, because it was not chosen: it adds nothing to the decayed frequency',
    ],
    ['made', `${manifest.created_at}, TensorFlow.js ${manifest.tfjs_version} on ${manifest.backend}`],
  ];
  return [
    `# Model ${name}/${version}`,
    'Predicts how often each row will be read and changed, to choose the rows that are worth keeping ready.',
    ['| | |', '|---|---|', ...facts.map(([what, says]) => `| ${what} | ${cell(says)} |`)].join('\n'),
    '## Against the baselines',
    comparison(manifest),
    '## Limits',
    limits(manifest)
      .map((limit) => `- ${limit}`)
      .join('\n'),
    '## Again',
    reproduction(name, manifest, reproduce),
    '',
  ].join('\n\n');
}

/** One line a past window, and one with the mean difference between the chosen predictor and each other ranking. */
function comparison({ metrics, predictor }: StoredManifest): string {
  if (!metrics.length)
    return 'No past window was long enough to compare on: nothing is known of its quality.';
  const names = [...new Set(metrics.flatMap((window) => Object.keys(window.shares)))];
  const others = names.filter((name) => name !== predictor);
  const head = ['window', 'rows chosen', ...names.map((name) => (name === predictor ? `**${name}**` : name))];
  const lines = metrics.map((window) => [
    moment(window.at),
    grouped(window.rows),
    ...names.map((name) => percent(shareOf(window, name))),
  ]);
  return [
    'Share of the accesses of each past window that fell on the chosen rows. Every choice was made from what lay before ' +
      'its window; `oracle` knows the window and is the ceiling.',
    [head, head.map(() => '---'), ...lines].map((cells) => `| ${cells.join(' | ')} |`).join('\n'),
    others.map((name) => `- ${predictor} − ${name}: ${difference(metrics, predictor, name)}`).join('\n'),
  ].join('\n\n');
}

/** Mean paired difference in percentage points, with its standard error s/√n from three windows on. */
function difference(metrics: readonly Window[], one: string, other: string): string {
  const differences = metrics.flatMap((window) => {
    const [a, b] = [shareOf(window, one), shareOf(window, other)];
    return a === undefined || b === undefined ? [] : [(a - b) * 100];
  });
  const windows = differences.length;
  if (!windows) return 'no window in common';
  const value = mean(differences);
  const sign = value < 0 ? '−' : '+';
  const error =
    windows < 3
      ? ''
      : `, standard error ${(sampleStandardDeviation(differences) / Math.sqrt(windows)).toFixed(2)}`;
  return `${sign}${Math.abs(value).toFixed(2)} points on ${windows} ${windows === 1 ? 'window' : 'windows'}${error}`;
}

function limits(manifest: StoredManifest): string[] {
  const { metrics, predictor, unknown, table_rows, horizon_seconds, budget } = manifest;
  const windows = metrics.filter((window) => shareOf(window, predictor) !== undefined).length;
  const ahead = [
    `It says nothing of times beyond ${duration(horizon_seconds)} ahead, and was compared at a budget of ${percent(budget)} only.`,
    `Its quality was measured on ${windows} past ${windows === 1 ? 'window' : 'windows'} of one table. Where use changes its nature, as when a batch job ends, the past misleads it.`,
  ];
  if (metrics.length)
    ahead.push('The half-life was chosen on the same windows: what rests on it is a little too good there.');
  const rows =
    table_rows === null
      ? 'The size of the table was not known: rows that the log never showed are expected to stay unused.'
      : `Rows that the log never showed all have one expectation: ${unknown.accesses.toPrecision(3)} accesses in a horizon.`;
  return [
    ...ahead,
    rows,
    'It scores only features of its own specification, and refuses any other.',
    'It holds statistics of features and weights of a network; no keys and no values of rows.',
  ];
}

function reproduction(name: string, manifest: StoredManifest, reproduce: string | undefined): string {
  const { horizon_seconds, budget, seed } = manifest;
  const commands =
    reproduce ??
    `foreshadow train --events EVENTS.csv.gz --name ${name} --horizon ${horizon_seconds}s --budget ${budget} --seed ${seed}`;
  return [
    'The same accesses, horizon, budget and seed give the same network, bit for bit, on the same backend and version of ' +
      'TensorFlow.js. (Once saved, it predicts the same on every backend, within 0.0001.)',
    `\`\`\`sh\n${commands}\n\`\`\``,
    'manifest.json holds every figure of this card, and the SHA-256 of the files beside it.',
  ].join('\n\n');
}

const shareOf = (window: Window, name: string): number | undefined =>
  (window.shares as Record<string, number | undefined>)[name];
const percent = (share: number | undefined) =>
  share === undefined ? '–' : `${Number((share * 100).toFixed(1))} %`;
const grouped = (count: number) => count.toLocaleString('en-US');
const loss = (value: number | null) => value?.toPrecision(3) ?? '–';
const cell = (text: string) => text.replaceAll('|', '\\|').replaceAll('\n', ' ');
const rowsOf = (rows: number | null) =>
  rows === null ? 'the keys seen so far' : `the table’s ${grouped(rows)} rows`;

function duration(seconds: number): string {
  const [size, unit] = seconds >= 172_800 ? [86_400, 'days'] : seconds >= 7_200 ? [3600, 'h'] : [1, 's'];
  return `${Number((seconds / size).toPrecision(4))} ${unit}`;
}

/** Times of a real log are dates; those of a made-up one are seconds since its own beginning. */
function moment(at: number | null): string {
  if (at === null) return 'never';
  return at > 1e8 && at < 1e11
    ? `${new Date(at * 1000).toISOString().slice(0, 19)}Z`
    : `${Number(at.toFixed(3))} s`;
}
