import { capture } from './capture.ts';
import { copy } from './copy.ts';
import { overlay } from './overlay.ts';
import { type BenchReport, withBenchServer } from './server.ts';

/** Each bench compares with a plain baseline in the same run: these figures are ratios, not promises. */
const benches: Readonly<Record<string, (rows: number) => Promise<BenchReport>>> = {
  copy: (rows) => withBenchServer((server) => copy(server, rows)),
  capture: (rows) => withBenchServer((server) => capture(server, rows)),
  overlay: (rows) => withBenchServer((server) => overlay(server, rows)),
};

const args = process.argv.slice(2);
const names = args.filter((arg) => arg in benches);
const option = args.find((arg) => arg.startsWith('--rows='))?.slice('--rows='.length);
const unknown = args.filter((arg) => !(arg in benches) && !arg.startsWith('--'));
if (unknown.length) {
  process.stderr.write(
    `no bench called ${unknown.join(', ')}; there are: ${Object.keys(benches).join(', ')}\n`,
  );
  process.exitCode = 2;
} else {
  for (const name of names.length ? names : Object.keys(benches)) {
    const report = await benches[name]!(Number(option ?? 200_000));
    process.stdout.write(`${JSON.stringify({ schema: 1, bench: name, ...report })}\n`);
  }
}
