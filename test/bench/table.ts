import type { BenchReport } from './server.ts';

type Bound = readonly [path: string, relation: '≤' | '≥' | '<', bound: number | string];

/** What we want of each bench. A bound in words is another figure of the same report. */
const goals: Readonly<Record<string, readonly Bound[]>> = {
  copy: [['two_lanes_ratio', '≥', 0.9]],
  capture: [['ratio', '≥', 0.8]],
  cutover: [
    ['writers_wait_ms.most', '≤', 100],
    ['writers_hold_ms.median', '≤', 20],
    ['writers_hold_ms.most', '≤', 50],
    ['rows_lost', '≤', 0],
    ['updates_lost', '≤', 0],
  ],
  logs: [
    ['ratio_to_pgbadger', '≥', 10],
    ['memory_ratio', '≤', 1.2],
    ['malformed', '≤', 0],
  ],
  order: [['area_ratio', '≥', 1]],
  statements: [['of_these_not_named', '≤', 0]],
  throttle: [
    ['throttled.p99_ratio', '≤', 2],
    ['throttled.longest_ms', '≤', 100],
  ],
  estimates: [
    ['throttled.progress_error', '≤', 0.1],
    ['throttled.copy.error', '≤', 0.2],
    ['throttled.copy.median_error', '≤', 0.2],
    ['throttled.until_writes.error', '≤', 0.2],
    ['unthrottled.progress_error', '≤', 0.1],
    ['unthrottled.copy.error', '≤', 0.2],
    ['unthrottled.copy.median_error', '≤', 0.2],
    ['unthrottled.until_writes.error', '≤', 0.2],
    ['limited.progress_error', '≤', 0.1],
    ['limited.copy.error', '≤', 0.2],
  ],
  latency: [
    ['p99_ratio', '≤', 2],
    ['writes_ratio', '≥', 0.8],
    ['progress_again_after_s', '<', 5],
    ['rows_copied_twice', '≤', 'one_chunk_a_lane_rows'],
    ['rows_lost', '≤', 0],
    ['updates_lost', '≤', 0],
  ],
};

const isGroup = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** `a.b` → value, however deep */
function flat(report: BenchReport, prefix = ''): Map<string, unknown> {
  const found = new Map<string, unknown>();
  for (const [name, value] of Object.entries(report)) {
    if (!isGroup(value)) found.set(prefix + name, value);
    else for (const [path, inner] of flat(value, `${prefix}${name}.`)) found.set(path, inner);
  }
  return found;
}

/** A report as text: a figure a line, with the goal where there is one. */
export function tableOf(bench: string, report: BenchReport): string {
  const figures = flat(report);
  const wanted = new Map((goals[bench] ?? []).map((goal) => [goal[0], goal]));
  const width = Math.max(...[...figures.keys()].map((path) => path.length));
  const say = (value: unknown) =>
    typeof value === 'number' ? value.toLocaleString('en', { maximumFractionDigits: 3 }) : String(value);
  const lines = [...figures].map(([path, value]) => {
    const line = `  ${path.replaceAll('_', ' ').padEnd(width)}  ${say(value).padStart(12)}`;
    const goal = wanted.get(path);
    if (!goal) return line;
    const [, relation, given] = goal;
    const bound = Number(typeof given === 'string' ? figures.get(given) : given);
    const figure = Number(value);
    const met = relation === '≤' ? figure <= bound : relation === '≥' ? figure >= bound : figure < bound;
    return `${line}  goal ${relation} ${say(bound)}: ${met ? 'met' : 'missed'}`;
  });
  return [bench, ...lines].join('\n');
}
