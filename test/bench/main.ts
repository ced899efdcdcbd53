import { ablation } from './ablation.ts';
import { capture } from './capture.ts';
import { copy } from './copy.ts';
import { cutover } from './cutover.ts';
import { estimates } from './estimates.ts';
import { http } from './http.ts';
import { latency } from './latency.ts';
import { logs } from './logs.ts';
import { order } from './order.ts';
import { overlay } from './overlay.ts';
import { score } from './score.ts';
import { type BenchReport, withBenchServer } from './server.ts';
import { statements } from './statements.ts';
import { tableOf } from './table.ts';
import { throttle } from './throttle.ts';

/**
 * `npm run bench -- [NAME…] [--rows=N] [--json]`. Each bench compares with a plain baseline in the same run: these figures
 * are ratios, not promises.
 */
const benches: Readonly<Record<string, (rows: number) => Promise<BenchReport>>> = {
  copy: (rows) => withBenchServer((server) => copy(server, rows)),
  capture: (rows) => withBenchServer((server) => capture(server, rows)),
  cutover: (rows) =>
    withBenchServer((server) =>
      cutover(server, rows, { cycles: number('cycles', 50), rate: number('rate', 1000) }),
    ),
  latency: (rows) => withBenchServer((server) => latency(server, rows, { rate: number('rate', 1000) })),
  order: (rows) =>
    order(rows, {
      seconds: number('seconds', 45),
      warmup: number('warmup', 30),
      rate: number('rate', 500),
      together: number('together', 100),
      drift: number('drift', 100),
    }),
  overlay: (rows) =>
    withBenchServer((server) => overlay(server, rows, { passed: number('passed', 5_000_000) })),
  http: (rows) => withBenchServer((server) => http(server, rows, { seconds: number('seconds', 300) })),
  throttle: (rows) =>
    throttle(rows, {
      seconds: number('seconds', 300),
      sessions: number('sessions', 8),
      rate: number('rate', 0) || null,
    }),
  estimates: (rows) =>
    withBenchServer((server) =>
      estimates(server, rows, {
        rate: number('rate', 300),
        copyOnly: args.includes('--copy-only'),
        fraction: number('fraction', 0.1),
        only: args.find((arg) => arg.startsWith('--only='))?.slice('--only='.length) ?? null,
      }),
    ),
  logs,
  statements: (rows) => withBenchServer((server) => statements(server, rows)),
  score,
  ablation: () => ablation(),
};

/** Rows where 2 million are not right: figures that do not depend on them, or a goal that names them. */
const usual: Readonly<Record<string, number>> = {
  capture: 200_000,
  estimates: 6_000_000,
  http: 200_000,
  logs: 1_000_000,
  order: 1_000_000,
  score: 10_000_000,
  statements: 300_000,
  throttle: 1_000_000,
};

const args = process.argv.slice(2);
const names = args.filter((arg) => arg in benches);
function number(name: string, otherwise: number): number {
  const given = args.find((arg) => arg.startsWith(`--${name}=`));
  return given ? Number(given.slice(name.length + 3)) : otherwise;
}
const unknown = args.filter((arg) => !(arg in benches) && !arg.startsWith('--'));
if (unknown.length) {
  process.stderr.write(
    `no bench called ${unknown.join(', ')}; there are: ${Object.keys(benches).join(', ')}\n`,
  );
  process.exitCode = 2;
} else {
  for (const name of names.length ? names : Object.keys(benches)) {
    const report = await benches[name]!(number('rows', usual[name] ?? 2_000_000));
    const text = args.includes('--json')
      ? JSON.stringify({ schema: 1, bench: name, ...report })
      : tableOf(name, report);
    process.stdout.write(`${text}\n`);
  }
}
