import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Client } from 'pg';
import { seededRng } from '../../src/core/rng.ts';
import { type EmbeddedPostgres, startEmbedded } from '../../src/db/embedded.ts';
import { type BenchReport, round } from './server.ts';

const run = promisify(execFile);
const child = fileURLToPath(new URL('./logs-child.ts', import.meta.url));
const accounts = 100_000;

/**
 * Lines a second of a query log, from bytes to keys (read, parse, resolve), against pgbadger on the same csvlog and
 * against JSON.parse alone on the same jsonlog; and the memory that takes, at `lines` and at five times as many.
 *
 * A real server writes the beginning of both logs under an application that speaks the simple and the extended protocol;
 * the rest repeats its records at later times with other keys.
 */
export async function logs(lines: number): Promise<BenchReport> {
  const folder = await mkdtemp(join(tmpdir(), 'foreshadow-bench-logs-'));
  try {
    const real = join(folder, 'real');
    const wrote = await writeRealLog(real, Math.min(lines, 40_000));
    const [csv, json, five] = [join(folder, 'log.csv'), join(folder, 'log.json'), join(folder, 'five.csv')];
    await replicate(`${real}.csv`, csv, lines);
    await replicate(`${real}.json`, json, lines);
    const megabytes = (await stat(csv)).size / 1e6;
    const ours = await measure('keys', csv);
    const badger = await pgbadger(csv, join(folder, 'report.html'));
    const ourJson = await measure('keys', json);
    const plain = await measure('json-parse', json);
    await rm(json);
    await replicate(`${real}.csv`, five, lines * 5);
    const atFive = await measure('keys', five);
    const rate = ours.lines / ours.seconds;
    return {
      server: wrote.version,
      lines: ours.lines,
      mb: round(megabytes, 1),
      executions: ours.executions,
      accesses: ours.accesses,
      keys: ours.keys,
      csvlog: { lines_per_s: round(rate, 0), mb_per_s: round(megabytes / ours.seconds, 1) },
      jsonlog: { lines_per_s: round(ourJson.lines / ourJson.seconds, 0) },
      json_parse_alone: { lines_per_s: round(plain.lines / plain.seconds, 0) },
      jsonlog_ratio_to_json_parse: round(plain.seconds / ourJson.seconds),
      csvlog_ratio_to_json_parse: round(rate / (plain.lines / plain.seconds)),
      pgbadger: badger
        ? { version: badger.version, lines_per_s: round(ours.lines / badger.seconds, 0) }
        : 'not installed (Debian: apt-get install pgbadger), so there is no ratio to it',
      ...(badger && {
        ratio_to_pgbadger: round(badger.seconds / ours.seconds),
        // this one does not depend on what else the machine does
        cpu_ratio_to_pgbadger: round(badger.cpuSeconds / ours.cpuSeconds),
      }),
      peak_rss_mb: { at_lines: round(ours.peakRssMb, 0), at_five_times: round(atFive.peakRssMb, 0) },
      memory_ratio: round(atFive.peakRssMb / ours.peakRssMb),
      five_times: { lines: atFive.lines, lines_per_s: round(atFive.lines / atFive.seconds, 0) },
      malformed: ours.malformed + ourJson.malformed + atFive.malformed,
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

interface Measured {
  readonly lines: number;
  readonly malformed: number;
  readonly executions: number;
  readonly accesses: number;
  readonly keys: number;
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly peakRssMb: number;
}

async function measure(what: 'keys' | 'json-parse', path: string): Promise<Measured> {
  const { stdout } = await run(process.execPath, ['--import', 'tsx', child, what, path]);
  return JSON.parse(stdout) as Measured;
}

/** One process, as ours is. @returns null when it is not installed */
async function pgbadger(
  csv: string,
  report: string,
): Promise<{ version: string; seconds: number; cpuSeconds: number } | null> {
  const version = await run('pgbadger', ['--version']).catch(() => null);
  if (!version) return null;
  const started = performance.now();
  const args = ['--quiet', '--format', 'csv', '--jobs', '1', '--outfile', report, csv];
  const { stdout } = await run('sh', ['-c', '"$@" && times', 'sh', 'pgbadger', ...args]);
  const seconds = (performance.now() - started) / 1000;
  // the last line is the time of the shell's children: 1m2.5s 0m0.1s
  const times = [...(stdout.trim().split('\n').at(-1) ?? '').matchAll(/(\d+)m([\d.]+)s/g)];
  const cpuSeconds = times.reduce((sum, [, minutes, rest]) => sum + Number(minutes) * 60 + Number(rest), 0);
  return { version: version.stdout.trim().replace('pgBadger version ', ''), seconds, cpuSeconds };
}

/** @returns when `path`.csv and `path`.json hold at least `lines` lines of the same work */
async function writeRealLog(path: string, lines: number): Promise<{ version: string }> {
  await using postgres = await startEmbedded({
    settings: { log_destination: 'csvlog,jsonlog', log_min_duration_statement: '0' },
  });
  const client = new Client({ connectionString: postgres.url, application_name: 'pgbench' });
  await client.connect();
  await client.query(
    `create table pgbench_accounts (aid int primary key, bid int, abalance int, filler char(84))`,
  );
  await client.query(
    `create table pgbench_tellers (tid int primary key, bid int, tbalance int, filler char(84))`,
  );
  await client.query('create table pgbench_history (tid int, bid int, aid int, delta int, mtime timestamp)');
  await client.query('insert into pgbench_accounts select g, 1, 0, $$$$ from generate_series(1, $1::int) g', [
    accounts,
  ]);
  await client.query('insert into pgbench_tellers select g, 1, 0, $$$$ from generate_series(1, 10) g');
  const rng = seededRng(1);
  // what pgbench does: half of it in the simple protocol, half with prepared statements
  const ask = async (named: boolean, text: string, values: number[]) => {
    if (named) await client.query({ name: `P_${text.length}`, text, values });
    else await client.query(text.replace(/\$(\d)/g, (_, k) => String(values[Number(k) - 1])));
  };
  for (let written = 0, n = 0; written < lines; n++) {
    const named = n % 2 === 1;
    const [aid, tid] = [1 + Math.floor(rng() * accounts), 1 + Math.floor(rng() * 10)];
    const delta = Math.floor(rng() * 10_000) - 5000;
    await client.query('BEGIN;');
    await ask(named, 'UPDATE pgbench_accounts SET abalance = abalance + $1 WHERE aid = $2;', [delta, aid]);
    await ask(named, 'SELECT abalance FROM pgbench_accounts WHERE aid = $1;', [aid]);
    await ask(named, 'UPDATE pgbench_tellers SET tbalance = tbalance + $1 WHERE tid = $2;', [delta, tid]);
    await ask(
      named,
      'INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES ($1, 1, $2, $3, CURRENT_TIMESTAMP);',
      [tid, aid, delta],
    );
    await client.query('END;');
    written += named ? 10 : 6;
  }
  await client.end();
  await gather(postgres, 'csv', `${path}.csv`);
  await gather(postgres, 'json', `${path}.json`);
  return { version: postgres.version };
}

/** The server's files of one format as one. */
async function gather(postgres: EmbeddedPostgres, ending: string, to: string): Promise<void> {
  const folder = join(postgres.dataDirectory, 'log');
  const out = createWriteStream(to);
  for (const name of (await readdir(folder)).sort()) {
    if (!name.endsWith(`.${ending}`)) continue;
    for await (const piece of createReadStream(join(folder, name))) out.write(piece);
  }
  out.end();
  await once(out, 'finish');
}

const key = /aid = \d+|(?<=\$2 = ')\d+(?='(?:""|")?(?:,|$))/;

/** Repeats a log until it has `lines` lines: each time an hour later, each record with another key. */
async function replicate(from: string, to: string, lines: number): Promise<void> {
  const records: string[] = [];
  for await (const line of createInterface({ input: createReadStream(from) })) records.push(line);
  const rng = seededRng(2);
  const out = createWriteStream(to);
  let written = 0;
  for (let hour = 0; written < lines; hour++) {
    let text = '';
    for (const record of records) {
      if (written++ === lines) break;
      text += `${later(record, hour).replace(key, (found) => {
        const fresh = String(1 + Math.floor(rng() * accounts));
        return found.startsWith('aid') ? `aid = ${fresh}` : fresh;
      })}\n`;
      if (text.length > 1 << 20) {
        if (!out.write(text)) await once(out, 'drain');
        text = '';
      }
    }
    if (!out.write(text)) await once(out, 'drain');
  }
  out.end();
  await once(out, 'finish');
}

/** The record with its time, which is the first one in it, so many hours later. */
function later(record: string, hours: number): string {
  const at = record.startsWith('{') ? 14 : 0;
  const then = new Date(
    Date.parse(`${record.slice(at, at + 10)}T${record.slice(at + 11, at + 23)}Z`) + hours * 3_600_000,
  );
  return `${record.slice(0, at)}${then.toISOString().replace('T', ' ').slice(0, 23)}${record.slice(at + 23)}`;
}
