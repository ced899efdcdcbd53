import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from 'pg';
import { type Rng, seededRng } from '../../../src/core/rng.ts';
import { setLaneMode } from '../../../src/sync/lane.queries.ts';
import type { Scenario } from './scenario.ts';
import type { Watch } from './watch.ts';
import { statements } from './writers.ts';

/** Where the migration is, as its status row says. */
export interface Place {
  readonly status: string;
  readonly phase: string;
  readonly waits: string | null;
  /** the living sessions that hold the lanes */
  readonly holders: string | null;
  readonly copied: number;
}

export interface Surroundings {
  readonly watch: Watch;
  readonly connect: (name: string) => Promise<Client>;
  readonly restart: () => Promise<void>;
  readonly say: (what: string) => void;
  readonly stop: { readonly now: boolean; calm: boolean };
}

/** Most of our sessions that are terminated in one seed. */
const mostShots = 8;

/** What happens around a migration apart from its workers: restarts, shots, long transactions, readers. */
export class Disturbances {
  readonly #scenario: Scenario;
  readonly #around: Surroundings;
  readonly #rng: Rng;
  readonly #began = performance.now();
  readonly #going: Promise<void>[] = [];
  readonly #done = new Set<string>();
  #client: Client | null = null;
  #shots = 0;
  #shootAt = 0;
  /** the write cutover is being taken back */
  #ending = false;
  restarts = 0;

  constructor(scenario: Scenario, around: Surroundings) {
    this.#scenario = scenario;
    this.#around = around;
    this.#rng = seededRng(scenario.seed * 104729);
  }

  /** From now on the write cutover is being taken back. */
  ending(): void {
    this.#ending = true;
    this.#around.stop.calm = false;
  }

  /** Null while there is no migration, or no answer. */
  async look(): Promise<Place | null> {
    const client = await this.#around.connect('look').catch(() => null);
    try {
      return client && (await placeOf(client));
    } catch {
      return null;
    } finally {
      await client?.end().catch(() => {});
    }
  }

  async run(): Promise<void> {
    const { stop, watch, connect } = this.#around;
    this.#going.push(watch.reader(() => connect('reader'), stop));
    let before = '';
    while (!stop.now) {
      try {
        this.#client ??= await connect('monitor');
        const place = await placeOf(this.#client);
        const now = place ? `${place.status} ${place.phase}` : 'none';
        if (now !== before) this.#around.say(now);
        before = now;
        if (place?.waits && this.#first(place.waits)) this.#around.say(`waits: ${place.waits}`);
        await this.#react(place);
      } catch {
        await this.#client?.end().catch(() => {});
        this.#client = null;
      }
      await sleep(30);
    }
    await this.#client?.end().catch(() => {});
    await Promise.allSettled(this.#going);
  }

  /** True the first time. */
  #first(name: string): boolean {
    if (this.#done.has(name)) return false;
    this.#done.add(name);
    return true;
  }

  async #react(place: Place | null): Promise<void> {
    const { restart, bigAtCutover, straddle, briefStop, wobble, shoot } = this.#scenario;
    const client = this.#client as Client;
    const elapsed = performance.now() - this.#began;
    // before there is a migration, a lost connection ends the command, and nothing would ever begin
    const atRest = this.#scenario.afterwards ? ['PLANNED'] : ['PLANNED', 'COMPLETED'];
    const inDanger = place !== null && !atRest.includes(place.status);
    if (place && ['SHADOWING', 'READY', 'IN_PROGRESS'].includes(place.status))
      await this.#around.watch.prepare(client);
    if (restart !== null && (typeof restart === 'number' ? elapsed > restart : place?.phase === restart)) {
      if (this.#first('restart')) await this.restart();
    }
    if (wobble && place?.phase === 'copy' && place.copied > 0 && place.copied < this.#scenario.rows / 3) {
      if (this.#first('wobble')) await this.#wobble(client);
    }
    // An application has quieter moments, and the cutover's pauses grow to seconds.
    if (/attempt ([2-9]|\d\d)/.test(place?.waits ?? '')) this.#around.stop.calm = true;
    const atCutover = place?.status === 'IN_PROGRESS' && place.phase === 'ready';
    if (atCutover || place?.phase === 'verify') {
      if (bigAtCutover && this.#first('big')) this.#going.push(this.#bigTransaction());
      if (briefStop && this.#first('blocker')) this.#going.push(this.#blocker('COMPLETED'));
      if (straddle && this.#first('straddle'))
        this.#going.push(
          this.#around.watch.straddle(
            () => this.#around.connect('straddle'),
            this.#around.stop,
            briefStop ? 2 : undefined,
          ),
        );
    }
    if (this.#ending && place?.status === 'COMPLETED') {
      // the process that rolls back may take its time to start
      if (bigAtCutover && this.#first('big back')) this.#going.push(this.#bigTransaction(20));
      if (briefStop && this.#first('blocker back')) this.#going.push(this.#blocker('ROLLED_BACK'));
      if (straddle && !briefStop && this.#first('straddle back'))
        this.#going.push(
          this.#around.watch.straddleBack(() => this.#around.connect('straddle'), this.#around.stop),
        );
    }
    if (shoot && elapsed > this.#shootAt && this.#shots < mostShots && inDanger) {
      this.#shootAt = elapsed + 150 + this.#rng() * 500;
      const { rowCount } = await client.query(
        `select pg_terminate_backend(pid) from (select pid from pg_stat_activity
          where datname = current_database() and application_name like 'foreshadow%' order by random() limit 1) a`,
      );
      this.#shots += rowCount ?? 0;
      if (rowCount) this.#around.say('one of our sessions terminated');
    }
  }

  async restart(): Promise<void> {
    this.#around.say('the server goes down');
    await this.#around.restart();
    this.restarts += 1;
    this.#around.say('the server is back');
  }

  /** Back to shadowing and forth again, in the middle of the copy: cursors start anew. */
  async #wobble(client: Client): Promise<void> {
    const { rows } = await client.query('select plan from foreshadow.migration_status');
    for (const mode of ['SHADOWING', 'IN_PROGRESS'] as const) {
      await client.query('begin');
      await setLaneMode(client, rows[0].plan, mode);
      await client.query('commit');
      this.#around.say(`lanes sent to ${mode}`);
      if (mode === 'SHADOWING') await sleep(300);
    }
  }

  /**
   * 5,000 changes in one transaction that commits when the cutover queues for the table. The cutover asks for its lock
   * only where no transaction is older than a second, so this is tried several times.
   */
  async #bigTransaction(most = 3): Promise<void> {
    const [client, looker] = await Promise.all([this.#around.connect('big'), this.#around.connect('look')]);
    const queues = async () =>
      (
        await looker.query(
          `select 1 from pg_locks where relation = 's'::regclass and mode = 'ExclusiveLock' and not granted`,
        )
      ).rowCount === 1;
    try {
      for (let turn = 0, met = false; turn < most && !met && !this.#around.stop.now; turn++) {
        const began = performance.now();
        if (!(await this.#changes(client))) continue;
        while (!met && performance.now() - began < 900) {
          met = await queues();
          await sleep(5);
        }
        await client.query('commit');
        if (met) this.#around.say('5,000 changes committed while the cutover waits');
      }
    } catch {
      // the server restarted
    } finally {
      await Promise.all([client, looker].map((each) => each.end().catch(() => {})));
    }
  }

  /** @returns false after a deadlock with the writers, who lock rows in another order */
  async #changes(client: Client): Promise<boolean> {
    const write = statements(client, this.#scenario.shape);
    await client.query('begin');
    try {
      await write.some(`w = 'big'`, Math.max(1, 5000 - this.#scenario.rows));
      await write.every('v = v + 1');
      return true;
    } catch (error) {
      if ((error as { code?: string }).code !== '40P01') throw error;
      await client.query('rollback');
      return false;
    }
  }

  /** Holds a row until the gentle cutover has failed often enough. */
  async #blocker(until: 'COMPLETED' | 'ROLLED_BACK'): Promise<void> {
    const { shape } = this.#scenario;
    const client = await this.#around.connect('blocker');
    try {
      await client.query('begin');
      await statements(client, shape).update(
        'v = v + 1',
        shape.keyTexts(1990, () => 0),
      );
      // a writer that waits for this row must not be held for long, however slow the machine is
      for (const end = performance.now() + 5000; performance.now() < end && !this.#around.stop.now; ) {
        const place = await this.look();
        if (place?.status === until || /attempt [3-9]/.test(place?.waits ?? '')) break;
        await sleep(25);
      }
      await client.query('commit');
      this.#around.say('the blocker is gone');
    } catch {
      // the server restarted
    } finally {
      await client.end().catch(() => {});
    }
  }
}

async function placeOf(client: Client): Promise<Place | null> {
  const { rows } = await client.query<Place & { id: number }>(
    `select id, status, phase, wait_reason as waits,
            (select string_agg(a.pid::text, ',' order by lane) from foreshadow.lane join pg_stat_activity a
                on a.pid = holder_pid and a.backend_start = holder_backend_start) as holders,
            0::float8 as copied
       from foreshadow.migration_status`,
  );
  const place = rows[0];
  if (place?.phase !== 'copy') return place ?? null;
  const ranges = await client.query<{ copied: number }>(
    `select coalesce(sum(copied), 0)::float8 as copied from foreshadow.range_${place.id}`,
  );
  return { ...place, copied: ranges.rows[0]?.copied ?? 0 };
}
