import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { createAccessMiner, createAccessResolver } from '../../src/access/index.ts';
import { newLogCounters, readLog } from '../../src/logs/index.ts';

/** One measurement of the `logs` bench, in a process of its own: the whole path, or JSON.parse of every line alone. */
const [what, path] = process.argv.slice(2) as ['keys' | 'json-parse', string];

async function keys() {
  const key = [{ name: 'aid', type: 'integer' }];
  const resolver = await createAccessResolver({ schema: 'public', table: 'pgbench_accounts', key });
  const miner = createAccessMiner(resolver);
  const counters = newLogCounters();
  const perKey = new Map<string, number>();
  let accesses = 0;
  for await (const batch of readLog(path, { counters })) {
    for (const access of miner.take(batch)) {
      accesses++;
      perKey.set(access.key, (perKey.get(access.key) ?? 0) + (access.weight ?? 1));
    }
  }
  const { lines, malformed, executions } = counters;
  return { lines, malformed, executions, accesses, keys: perKey.size };
}

async function jsonParse() {
  let lines = 0;
  let letters = 0;
  for await (const line of createInterface({
    input: createReadStream(path),
    crlfDelay: Number.POSITIVE_INFINITY,
  })) {
    letters += (JSON.parse(line) as { message: string }).message.length;
    lines++;
  }
  return { lines, letters };
}

const started = performance.now();
const result = what === 'keys' ? await keys() : await jsonParse();
const seconds = (performance.now() - started) / 1000;
// of the whole process, its start too, as another program's would count
const { userCPUTime, systemCPUTime, maxRSS } = process.resourceUsage();
const cpuSeconds = (userCPUTime + systemCPUTime) / 1e6;
process.stdout.write(JSON.stringify({ ...result, seconds, cpuSeconds, peakRssMb: maxRSS / 1024 }));
