import type { CopyOrder } from './copy-order.ts';
import { type DemoReport, type Phase, phases, type Rule } from './document.ts';

const meanings: Readonly<Record<Rule | 'shadow', string>> = {
  shadow: 'what foreshadow chose, its random remainder included',
  ewma: 'most used lately: decayed frequency, half-life tuned on the past',
  lfu: 'most used since the log begins',
  lru: 'used last',
  random: 'drawn blindly',
  oracle: 'the most used rows of these seconds, known afterwards: no choice can do better',
};

const orderNames: Readonly<Record<CopyOrder, readonly [name: string, meaning: string]>> = {
  as_it_went: ['as it went', 'shadow, then the hottest range first'],
  key_order: ['key order', 'same shadow, then from the lowest key up'],
  reverse_key_order: ['reverse key order', 'same shadow, then from the highest key down: here, newest first'],
  key_order_no_shadow: ['key order, no shadow', 'from the lowest key up, nothing before'],
};

/** The demo's result for a person: what was measured, and what it means. */
export function reportText(report: DemoReport): string {
  return [
    heading(report),
    shadow(report),
    coverage(report),
    confidence(report),
    application(report),
    locks(report),
    checks(report),
  ]
    .filter((section) => section !== '')
    .join('\n\n');
}

function heading(report: DemoReport): string {
  const { rows, status, time_to_reads_on_target_s: reads, time_to_complete_s: complete, elapsed_s } = report;
  return [
    `${report.ok ? 'Done' : 'NOT as it should be'}: ${count(rows)} orders, int → bigint, text → smallint, cents → numeric, columns out of jsonb, under live traffic`,
    table([
      ['  status', status],
      [
        '  reads on the target after',
        span(reads),
        'with the shadow in place; the rest of the rows came later',
      ],
      ['  everything on the target after', span(complete), 'both counted from the start of the migration'],
      ['  whole demo', span(elapsed_s), 'with setting up, warm-up and checks'],
    ]),
  ].join('\n');
}

function shadow({ shadow: s, model }: DemoReport): string {
  const lines: [string, number | null, string][] = [['shadow', s.hit_share, meanings.shadow]];
  for (const rule of ['ewma', 'lfu', 'lru', 'random'] as const) lines.push([rule, s[rule], meanings[rule]]);
  lines.sort((a, b) => (b[1] ?? -1) - (a[1] ?? -1));
  lines.unshift(['oracle', s.oracle, meanings.oracle]);
  const title = `Share of reads that ${count(s.rows)} rows (${(100 * s.fraction).toFixed(1)} %) would serve, by who chose them`;
  const under = `${count(s.reads)} row reads in the ${s.window_s} s after the read cutover; same log, time of choice, new rows and number of rows for each`;
  const rows = lines.map(([name, share, meaning]) => [`  ${name}`, bar(share), percent(share), meaning]);
  const about = model?.predictor ? [`  predictor ${model.predictor}: ${model.reason ?? ''}`] : [];
  return [title, `  (${under})`, table(rows), ...about].join('\n');
}

function coverage({ coverage: c }: DemoReport): string {
  if (!c) return '';
  const share = (x: number) => `${(100 * x).toFixed(0)} %`.padStart(5);
  const rows = (Object.keys(orderNames) as CopyOrder[]).map((order) => ({
    area: c.area[order],
    cells: [
      `  ${orderNames[order][0]}`,
      ...c.points.map((point) => share(point[order])),
      c.area[order].toFixed(3),
      orderNames[order][1],
    ],
  }));
  rows.sort((a, b) => b.area - a.area);
  return [
    'Share of reads that the target could serve while the rest was copied, by the order of the copy',
    `  (${count(c.reads)} row reads in the ${c.window_s.toFixed(1)} s of the copy; other orders by the same reads at the same times. Rows changed meanwhile are there in each)`,
    table([
      ['  of the table copied', ...c.points.map((point) => share(point.copied)), 'area', ''],
      ...rows.map(({ cells }) => cells),
    ]),
  ].join('\n');
}

function confidence({ confidence: c }: DemoReport): string {
  if (!c) return '';
  const f = (x: number) => x.toFixed(4);
  return [
    'Confidence when the gate opened',
    table([
      [
        '  level',
        f(c.level),
        `between ${f(c.lower)} and ${f(c.upper)}, each with 95 %; the lower bound had to reach ${c.threshold}`,
      ],
      ['  similarity', f(c.similarity_score), 'of source and shadow, column by column'],
      ['  change rate', f(c.change_rate_factor), 'share of the rows that did not change meanwhile'],
    ]),
  ].join('\n');
}

function application({ app, sync }: DemoReport): string {
  const ms = (value: number | null) => (value === null ? '-' : `${value.toFixed(1)} ms`);
  const row = (name: string, values: Readonly<Record<Phase, number | null>>, meaning: string) => [
    `  ${name}`,
    ...phases.map((phase) => ms(values[phase]).padStart(9)),
    meaning,
  ];
  const faults = Object.entries(app.error_texts).map(([text, times]) => `  ${times} × ${text}`);
  return [
    `The application: ${count(app.reads)} reads and ${count(app.writes)} writes, ${app.statements_per_s.toFixed(0)} statements/s`,
    table([
      ['  latency', ...phases.map((phase) => phase.padStart(9)), ''],
      row('median', app.p50_ms, 'from when a statement was due until its answer'),
      row(
        '99th percentile',
        app.p99_ms,
        'during: mining, training, copying and both cutovers, on the same machine',
      ),
      row('longest', app.max_ms, ''),
    ]),
    table([
      ['  errors', String(app.errors), ''],
      ['  retries', String(app.retries), 'writes that were told to ask for the new route'],
      [
        '  stale reads',
        String(app.stale),
        `of ${count(app.compared)} rows read and compared with what was committed before`,
      ],
      ['  lag of the target', ms(sync.lag_ms_p50), `half of the changes; 99 % within ${ms(sync.lag_ms_p99)}`],
    ]),
    ...faults,
  ].join('\n');
}

function locks({ locks: all }: DemoReport): string {
  if (all.length === 0) return '';
  const rows = all.map((lock) => [
    `  ${lock.kind}`,
    `waited ${lock.wait_ms.toFixed(1)} ms`,
    `held ${lock.hold_ms.toFixed(1)} ms`,
    `${lock.attempts} ${lock.attempts === 1 ? 'attempt' : 'attempts'}`,
  ]);
  return ['Locks taken on the application’s tables', table(rows)].join('\n');
}

function checks({ verification: v, app: { audit } }: DemoReport): string {
  const wrong = (each: { missing: number; extra: number; different: number }) =>
    `${each.missing} missing, ${each.extra} extra, ${each.different} different`;
  const rows = [
    ...(v
      ? [['  before the write cutover', wrong(v), `${count(v.compared)} rows, target against mapped source`]]
      : []),
    [
      '  at the end',
      wrong(audit),
      `${count(audit.compared)} rows, target against the application’s own books (it wrote ${count(audit.written)} of them)`,
    ],
  ];
  return ['Rows', table(rows)].join('\n');
}

/** Aligned columns of plain text. */
function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)));
  return rows
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

const barWidth = 30;
const bar = (share: number | null) => '█'.repeat(Math.round(barWidth * (share ?? 0))).padEnd(barWidth, '·');
const percent = (share: number | null) =>
  (share === null ? '-' : `${(100 * share).toFixed(1)} %`).padStart(6);
const span = (seconds: number | null) => (seconds === null ? '-' : `${seconds.toFixed(1)} s`);
const count = (n: number) => n.toLocaleString('en-US');
