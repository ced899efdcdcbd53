import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import type { Failpoint } from '../../../src/core/failpoint.ts';
import { seededRng } from '../../../src/core/rng.ts';
import { goOn } from './afterwards.ts';
import { compareAborted, compareMoved, compareRolledBack, count, type Differences } from './compare.ts';
import { Disturbances, type Place } from './disturbances.ts';
import { describeScenario, type Scenario } from './scenario.ts';
import type { HostileServer } from './server.ts';
import { rowBack, rowMap, setupSql } from './shapes.ts';
import { Watch } from './watch.ts';
import type { Ending, Worker, Workers } from './workers.ts';
import { Writer, type WriterCounts } from './writers.ts';

/** No attack begins later than this; a seed that is not through by then is a fault. */
const attackSeconds = 12;
const patienceSeconds = 40;
/** More of both for what comes after the write cutover. */
const afterwardsSeconds = 20;
/** A worker that was stopped goes on after this, when another has had its chance to take over. */
const stoppedMs = 700;

export interface SeedResult {
  readonly seed: number;
  readonly shape: string;
  /** null: it got to no end */
  readonly end: keyof typeof comparisons | null;
  readonly seconds: number;
  readonly kills: number;
  readonly restarts: number;
  readonly writerOps: number;
  readonly snapshots: number;
  readonly straddled: number;
  readonly slowestWriteMs: number;
  readonly differences: Differences;
  readonly faults: readonly string[];
  readonly failpoints: ReadonlySet<Failpoint>;
  readonly timeline: readonly string[];
}

/** How a seed may end, and what must be in the table then. */
const comparisons = { moved: compareMoved, aborted: compareAborted, back: compareRolledBack } as const;

export const failed = (result: SeedResult) => result.faults.length + count(result.differences) > 0;

/** One migration under attack, from two fresh tables to the comparison. */
export class Seed {
  readonly scenario: Scenario;
  readonly #server: HostileServer;
  readonly #workers: Workers;
  readonly #folder: string;
  readonly #began = performance.now();
  readonly #stop = { now: false, calm: false };
  readonly #timeline: string[] = [];
  readonly #faults: string[] = [];
  readonly #failpoints = new Set<Failpoint>();
  readonly #running = new Set<Worker>();
  readonly #counts: WriterCounts = {
    operations: 0,
    commits: 0,
    prepared: 0,
    rolledBack: 0,
    reconnects: 0,
    truncatesRefused: 0,
    slowestMs: 0,
  };
  #attacks: Scenario['attacks'];
  #kills = 0;
  #quickEnds = 0;
  readonly #watch: Watch;
  readonly #disturbances: Disturbances;

  constructor(scenario: Scenario, server: HostileServer, workers: Workers, folder: string) {
    this.scenario = scenario;
    this.#server = server;
    this.#workers = workers;
    this.#folder = folder;
    this.#attacks = scenario.attacks;
    this.#watch = new Watch(scenario.shape, (what) => this.#fault(what));
    this.#disturbances = new Disturbances(scenario, {
      watch: this.#watch,
      connect: (name) => this.#connect(name),
      restart: () => server.restartImmediately(),
      say: (what) => this.#say(what),
      stop: this.#stop,
    });
  }

  get #database(): string {
    return `seed_${this.scenario.seed}`;
  }

  get #url(): string {
    return this.#server.url(this.#database);
  }

  get #elapsed(): number {
    return (performance.now() - this.#began) / 1000;
  }

  get #attackSeconds(): number {
    return attackSeconds + (this.scenario.afterwards ? afterwardsSeconds : 0);
  }

  get #patience(): number {
    return patienceSeconds + (this.scenario.afterwards ? 2 * afterwardsSeconds : 0);
  }

  #say(what: string): void {
    this.#timeline.push(`${this.#elapsed.toFixed(2)} s  ${what}`);
  }

  #fault(what: string): void {
    if (this.#faults.length >= 10) return;
    this.#faults.push(what);
    this.#say(`FAULT ${what}`);
    if (this.scenario.failFast) for (const worker of this.#running) worker.signal('SIGKILL');
  }

  async #connect(name: string): Promise<Client> {
    const client = new Client({ connectionString: this.#url, application_name: name });
    client.on('error', () => {});
    await client.connect();
    return client;
  }

  async run(): Promise<SeedResult> {
    const { scenario } = this;
    this.#say(describeScenario(scenario));
    await this.#prepare();
    const writers = this.#startWriters();
    const disturbing = this.#disturbances.run();
    let end: SeedResult['end'] = null;
    let found: Differences = { lost: [], extra: [], different: [] };
    try {
      end = await (scenario.abortAfter === null ? this.#migrate() : this.#abort());
      await sleep(150);
      this.#stop.now = true;
      await Promise.all([...writers, disturbing]);
      await this.#endWorkers();
      const client = await this.#connect('compare');
      found = await comparisons[end](client, scenario.shape).finally(() => client.end());
      if (count(found)) this.#say(`DIFFERENT ${JSON.stringify(found)}`);
    } catch (error) {
      this.#fault((error as Error).message);
    } finally {
      this.#stop.now = true;
      await Promise.allSettled([...writers, disturbing]);
      await this.#endWorkers();
      if (!this.#faults.length && !count(found)) await this.#drop();
      else await this.#drop().catch(() => {});
    }
    return {
      seed: scenario.seed,
      shape: scenario.shape.name,
      end,
      seconds: this.#elapsed,
      kills: this.#kills,
      restarts: this.#disturbances.restarts,
      writerOps: this.#counts.operations,
      snapshots: this.#watch.snapshots,
      straddled: this.#watch.straddled,
      slowestWriteMs: Math.round(this.#counts.slowestMs),
      differences: found,
      faults: this.#faults,
      failpoints: this.#failpoints,
      timeline: this.#timeline,
    };
  }

  async #prepare(): Promise<void> {
    await onServer(this.#server, (client) =>
      client.query(`create database ${this.#database} template foreshadow_template`),
    );
    const client = await this.#connect('setup');
    await client.query(setupSql(this.scenario.shape, this.scenario.rows));
    await client.end();
    const { shape, chunkRows, rowsPerSecond, briefStop, evict, seed, afterwards } = this.scenario;
    const file = {
      name: 'm',
      source: 'public.s',
      target: 'public.t',
      key: shape.key,
      map: { ...shape.map, ...rowMap },
      ...(afterwards ? { back: { ...shape.back, ...rowBack } } : {}),
      shadow: {
        fraction: evict ? 0.05 : 0.5,
        seed,
        weights: { predictive: 0.2, frequency: 0.1, change: 0.1, random: 0.6 },
      },
      predict: { every: evict ? '200ms' : '1s' },
      confidence: { threshold: 0, fieldThreshold: 0, consecutive: evict ? 4 : 1, every: '50ms' },
      copy: { lanes: shape.lanes, chunkRows, ...(rowsPerSecond ? { rowsPerSecond } : {}) },
      // five writers at full speed would have the copy crawl; what is sought here is what goes wrong, not good manners
      throttle: { maxLatency: 'none', checkpointEvery: 'none', maxActive: 'none', maxLag: 'none' },
      cutover: { reads: 'when-confident', writes: 'auto', isolation: briefStop ? 'read-committed' : 'any' },
    };
    await writeFile(join(this.#folder, 'm.json'), JSON.stringify(file));
  }

  #startWriters(): Promise<void>[] {
    const { shape, rows, seed, swaps, inserts, briefStop, abortAfter, afterwards } = this.scenario;
    return Array.from({ length: 5 }, (_, id) =>
      new Writer(
        {
          id,
          url: this.#url,
          shape,
          rows,
          rng: seededRng(seed * 7919 + id),
          stop: this.#stop,
          swaps,
          inserts,
          readCommitted: briefStop,
          mayBeAborted: abortAfter !== null || afterwards !== null,
          onFault: (what) => this.#fault(what),
          look: (client, where) => this.#watch.compare(client, where),
        },
        this.#counts,
      ).run(),
    );
  }

  #start(args: readonly string[], armed: Scenario['attacks']): Worker {
    const env = {
      DATABASE_URL: this.#url,
      FORESHADOW_MODELS: this.#folder,
      FORESHADOW_LOG_LEVEL: 'error',
      FORESHADOW_FAILPOINTS: armed
        .map(({ failpoint, action, hit }) => `${failpoint}=${action}:${hit}`)
        .join(','),
    };
    const worker = this.#workers.start(args, env, (name, action) => {
      this.#say(`${worker.pid} reached ${name}: ${action}`);
      this.#failpoints.add(name as Failpoint);
      this.#attacks = this.#attacks.filter((attack) => attack.failpoint !== name);
      if (action === 'kill') this.#kills += 1;
    });
    this.#say(`${worker.pid} ${args[0]} ${args.slice(2).join(' ')}`);
    this.#running.add(worker);
    void worker.ended.then(({ code, signal }) => {
      this.#running.delete(worker);
      this.#say(`${worker.pid} ended: ${signal ?? code}${code ? ` ${worker.lastWords}` : ''}`);
    });
    return worker;
  }

  /** Workers one after the other, until one has brought the migration to its end. */
  async #migrate(): Promise<keyof typeof comparisons> {
    const file = join(this.#folder, 'm.json');
    for (let turn = 1; ; turn++) {
      const late = this.#elapsed > this.#attackSeconds;
      const worker = this.#start(['run', file], late ? [] : this.#attacks);
      const began = performance.now();
      await this.#attack(worker, turn, late);
      const stopped = worker.stopped && !worker.over;
      const { code, signal } = stopped ? await this.#replace(worker, file) : await this.#endOf(worker);
      const place = await this.#place();
      if (this.scenario.failFast && this.#faults.length) return 'moved';
      if (code === 0 && place?.status === 'COMPLETED') break;
      if (place?.status === 'FAILED') this.#fault(`the migration failed: ${worker.lastWords}`);
      if (code === 3 || code === 7) throw new Error(`a worker gave up: ${worker.lastWords}`);
      // A worker that neither reached its goal nor was attacked: a crash of the server may do that, but not for ever.
      if (!signal && performance.now() - began < 1500 && ++this.#quickEnds > 12)
        throw new Error(`workers end at once: ${worker.lastWords}`);
    }
    const client = await this.#connect('verification');
    const { rows } = await client.query(`select verification from foreshadow.migration_status`);
    await client.end();
    if (rows[0]?.verification?.repairs)
      this.#fault(`verification had to repair ${rows[0].verification.repairs} rows`);
    const { afterwards } = this.scenario;
    if (!afterwards) return 'moved';
    await goOn(afterwards, {
      file,
      start: (args, armed) => this.#start(args, this.#elapsed > this.#attackSeconds ? [] : armed),
      left: () => this.#attacks,
      arm: (attacks) => {
        this.#attacks = attacks;
      },
      endOf: (worker) => this.#endOf(worker),
      place: () => this.#place(),
      say: (what) => this.#say(what),
      restart: () => this.#disturbances.restart(),
      ending: async () => {
        if (afterwards.ends === 'rolled back') return this.#disturbances.ending();
        await this.#endWatch();
      },
      failed: () => this.scenario.failFast && this.#faults.length > 0,
    });
    await this.#endWatch();
    return afterwards.ends === 'rolled back' ? 'back' : 'moved';
  }

  async #endWatch(): Promise<void> {
    const client = await this.#connect('watch');
    await this.#watch.over(client).finally(() => client.end());
  }

  async #endOf(worker: Worker): Promise<Ending> {
    const left = Math.max(1000, (this.#patience - this.#elapsed) * 1000);
    const ending = await Promise.race([worker.ended, sleep(left, null, { ref: false })]);
    if (ending) return ending;
    const place = await this.#place();
    throw new Error(`not through after ${this.#patience} s: ${JSON.stringify(place)} ${worker.lastWords}`);
  }

  /** Signals at a random moment; returns when the worker has ended or stands still. */
  async #attack(worker: Worker, turn: number, late: boolean): Promise<void> {
    const { killAfter, stopAfter } = this.scenario;
    const signal = late
      ? null
      : turn === 1 && killAfter
        ? 'SIGKILL'
        : turn === 2 && stopAfter
          ? 'SIGSTOP'
          : null;
    const at = performance.now() + ((turn === 1 ? killAfter : stopAfter) ?? 0);
    for (let sent = signal === null; !worker.over && !worker.stopped; await sleep(10)) {
      if (this.#elapsed > this.#patience) return;
      if (sent || performance.now() < at) continue;
      sent = true;
      worker.signal(signal as 'SIGKILL' | 'SIGSTOP');
      this.#say(`${worker.pid} ${signal}`);
      if (signal === 'SIGKILL') this.#kills += 1;
    }
  }

  /** The zombie: another worker takes over, then the first goes on, and must notice. @returns the other's ending */
  async #replace(zombie: Worker, file: string): Promise<Ending> {
    await sleep(150);
    const holders = async () => (await this.#place())?.holders;
    const before = await holders();
    // one zombie at a time: the successor dies where it would have stopped
    const attacks = this.#attacks.map((each) =>
      each.action === 'stop' ? { ...each, action: 'kill' as const } : each,
    );
    const successor = this.#start(
      ['run', file, '--take-over'],
      this.#elapsed > this.#attackSeconds ? [] : attacks,
    );
    for (let i = 0; i < stoppedMs / 20 && (await holders()) === before; i++) await sleep(20);
    const after = await holders();
    const taken = Boolean(before && after) && before !== after;
    zombie.signal('SIGCONT');
    this.#say(`${zombie.pid} SIGCONT, ${taken ? '' : 'not '}taken over`);
    const [, successors] = await Promise.all([this.#mustEnd(zombie, taken), this.#endOf(successor)]);
    zombie.signal('SIGKILL');
    return successors;
  }

  /** Whoever was taken over notices at its next transaction. */
  async #mustEnd(zombie: Worker, taken: boolean): Promise<void> {
    await Promise.race([zombie.ended, sleep(3000, null, { ref: false })]);
    if (zombie.over || !taken) return;
    const place = await this.#place();
    if (place?.phase === 'copy') this.#fault('a zombie goes on after it was taken over');
  }

  async #abort(): Promise<keyof typeof comparisons> {
    const file = join(this.#folder, 'm.json');
    const run = this.#start(['run', file], []);
    await Promise.race([run.ended, sleep(400 + (this.scenario.abortAfter as number))]);
    for (; ; await sleep(20)) {
      const place = await this.#place();
      if (!place) continue;
      if (place.status === 'ABORTED') break;
      if (place.status === 'COMPLETED') return 'moved'; // it was quicker
      const armed = this.#elapsed > this.#attackSeconds ? [] : this.#attacks;
      const worker = this.#start(['abort', 'm', '--grace', '0.1'], armed);
      await this.#attack(worker, 0, true);
      if (worker.stopped) {
        await sleep(stoppedMs);
        worker.signal('SIGCONT');
      }
      await this.#endOf(worker);
    }
    await this.#endOf(run);
    return 'aborted';
  }

  async #place(): Promise<Place | null> {
    return this.#disturbances.look();
  }

  /** Nobody is left behind: zombies are continued, and what does not end by itself is ended. */
  async #endWorkers(): Promise<void> {
    for (const worker of this.#running) {
      worker.signal('SIGCONT');
      const ended = await Promise.race([worker.ended, sleep(3000, null, { ref: false })]);
      if (!ended) worker.signal('SIGKILL');
      await worker.ended;
    }
  }

  async #drop(): Promise<void> {
    const client = await this.#connect('drop');
    const { rows } = await client.query<{ gid: string }>(
      'select gid from pg_prepared_xacts where database = current_database()',
    );
    for (const { gid } of rows) await client.query(`rollback prepared '${gid}'`);
    await client.end();
    await onServer(this.#server, (admin) => admin.query(`drop database ${this.#database} with (force)`));
  }
}

export async function onServer(
  server: HostileServer,
  work: (client: Client) => Promise<unknown>,
): Promise<void> {
  const client = new Client({ connectionString: server.url('postgres') });
  client.on('error', () => {});
  await client.connect();
  await work(client).finally(() => client.end());
}
