import type { Client } from 'pg';
import type { Logger } from 'pino';
import type { Knobs } from '../../config/throttle-settings.ts';
import type { Clock } from '../../core/clock.ts';
import type { Lanes } from '../../sync/lanes.ts';
import { type Migration, recordEvent, recordOnce } from '../status.store.ts';
import { beginning, type Drive, floor, nextDrive, unbridled } from './drive.ts';
import { enough, Latency, standEvery } from './latency.ts';
import { paceOf, type Settings, settingsOf } from './limits.ts';
import { look, readable, readWishes, type ServerSettings, serverSettings } from './measure.queries.ts';
import { chooseProbe, type Probe, probeTimeout, timeCommit, timeProbe } from './probe.queries.ts';
import { type Measurement, pressures } from './rules.ts';
import { WalRate } from './wal-rate.ts';

/** Seconds between two looks: what an operator turns acts within a second. */
const every = 0.5;
/** While nothing is copied, the latency without a copy is measured this often, in seconds, once it is known. */
const idleProbeEvery = 2;
const probesAtOnce = 3;
/** Seconds without a copy, after which the next one begins gently again. */
const idleAfter = 5;
/** A stand ends after this many seconds whatever the look does: its session may hang. */
const longestStand = 5;
/** The same change of mind is not written down more often than this, in seconds. */
const saidEvery = 5;

/**
 * Full pages of WAL that a change of a copied row takes: one of the target and one of its key's index, as changes here and
 * there mostly meet pages that were not changed since the last checkpoint; and by measure as much as a third (vacuum comes
 * after them, and commits wait): with two, sixteen recorded copies were foretold 6 % too soon on average, with three 1 % too
 * late.
 */
const pagesPerChange = 3;

/** What the throttle makes of things, in the status row and document. */
export interface ThrottleState {
  readonly share: number;
  readonly chunk_ms: number;
  readonly rows_per_second: number | null;
  /** what holds the copy back; null at full speed */
  readonly source: string | null;
  readonly reason: string | null;
  /** latency of the probe in ms: lately, and without the copy */
  readonly latency_ms: number | null;
  readonly baseline_ms: number | null;
  /** the same of a commit */
  readonly commit_ms: number | null;
  readonly commit_baseline_ms: number | null;
  readonly wal_bytes_per_s: number | null;
  readonly active_sessions: number | null;
  readonly replica_lag_s: number | null;
  /** what this role may not read: the throttle goes on without */
  readonly unread: readonly string[];
}

export interface ThrottleOptions {
  readonly migration: Migration;
  readonly lanes: Lanes;
  readonly clock: Clock;
  readonly log: Logger;
  readonly connect: () => Promise<Client>;
  /** told when something else holds the copy back, or nothing any more */
  readonly onChange: (drive: Drive) => void;
}

/**
 * Looks at the server twice a second, on a session of its own, and tells the lanes how hard they may copy. It goes on
 * whatever else the process is at, so that a limit, a pause or a knob acts within a second.
 */
export class Throttle {
  readonly #options: ThrottleOptions;
  readonly #latency: Latency;
  readonly #commit: Latency;
  readonly #wal = new WalRate();
  readonly #stop = new AbortController();
  #running: Promise<void> = Promise.resolve();
  #client: Client | null = null;
  #server: ServerSettings | null = null;
  #names: string[] = [];
  #unread: string[] = [];
  #probe: Probe | null = null;
  #settings: Settings;
  #turnedAt = Number.NEGATIVE_INFINITY;
  #knobs: string;
  #drive: Drive = unbridled;
  #measured: Measurement | null = null;
  #done = 0;
  /** work on many rows that is not the lanes' is under way */
  #working = false;
  #atWork: boolean;
  #workedAt = 0;
  #turn = 0;
  #probedAt = 0;
  #stood = false;
  #stoodAt = 0;
  #stands = 0;
  #saidAt = 0;
  #forcedBefore: number | null = null;

  constructor(options: ThrottleOptions) {
    const { migration, lanes } = options;
    this.#options = options;
    this.#atWork = copies(migration.status);
    const known = migration.throttle_state as ThrottleState | null;
    this.#latency = new Latency(known?.baseline_ms ?? null);
    this.#commit = new Latency(known?.commit_baseline_ms ?? null);
    const knobs = migration.throttle as Knobs;
    this.#knobs = JSON.stringify(knobs);
    this.#settings = settingsOf(migration.definition, knobs);
    if (this.#bound) this.#drive = beginning;
    // nothing is copied before it is known how the application fares without it
    this.#stood = this.#latencyUnknown;
    lanes.keep(paceOf(this.#driven, this.#settings));
  }

  start(): void {
    if (this.#stood) this.#stand();
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
    await this.#drop();
  }

  /** Another kind of work begins: gently again, whatever the one before was allowed. */
  beginGently(): void {
    if (this.#bound && !this.#drive.held) this.#drive = beginning;
  }

  /** Work on many rows that is not the lanes': while it lasts, nothing that is measured counts as without the copy. */
  async during<T>(work: () => Promise<T>): Promise<T> {
    this.#working = true;
    try {
      return await work();
    } finally {
      this.#working = false;
    }
  }

  /** When limits were changed while it ran, seconds since the epoch: what was seen before was under others. */
  get turnedAt(): number {
    return this.#turnedAt;
  }

  get drive(): Drive {
    return this.#drive;
  }

  /**
   * What a change of the application's costs once its row has been copied, in rows that could be copied instead, where WAL
   * holds the copy back. 0 where something else does; null: nothing does.
   */
  get rowsPerChange(): number | null {
    const { source } = this.#drive;
    if (source === null) return null;
    const perRow = this.#wal.bytesPerRow;
    if (!perRow || !this.#server || (source !== 'wal' && source !== 'checkpoints')) return 0;
    return (pagesPerChange * this.#server.fullPage) / perRow;
  }

  get state(): ThrottleState {
    const m = this.#measured;
    const lags = m?.standbys?.map(({ lag_s }) => lag_s ?? 0) ?? [];
    return {
      share: round(this.#drive.share),
      chunk_ms: round(this.#options.lanes.pace.chunkMs),
      rows_per_second: this.#settings.rowsPerSecond,
      source: this.#drive.source,
      reason: this.reason,
      latency_ms: m?.latency ? round(m.latency.now) : null,
      baseline_ms: this.#latency.baseline === null ? null : round(this.#latency.baseline),
      commit_ms: m?.commit ? round(m.commit.now) : null,
      commit_baseline_ms: this.#commit.baseline === null ? null : round(this.#commit.baseline),
      wal_bytes_per_s: m?.wal == null ? null : Math.round(m.wal.rate),
      active_sessions: m?.active ?? null,
      replica_lag_s: lags.length ? Math.max(...lags) : null,
      unread: this.#unread,
    };
  }

  /** Why the copy is slower than it could be; null at full speed. */
  get reason(): string | null {
    const { rowsPerSecond } = this.#settings;
    return this.#drive.reason ?? (rowsPerSecond === null ? null : `copy limited to ${rowsPerSecond} rows/s`);
  }

  get #bound(): boolean {
    return Object.values(this.#settings.limits).some((limit) => limit !== null);
  }

  async #run(): Promise<void> {
    const { clock, log } = this.#options;
    const { signal } = this.#stop;
    let failing = false;
    for (let next = clock.now(); !signal.aborted; ) {
      if (clock.now() >= next) {
        next = clock.now() + every;
        try {
          await this.#look();
          failing = false;
        } catch (error) {
          // the lanes keep to what they were told last; whether the database is there is for them to find out
          if (!failing && !signal.aborted) log.warn({ err: error }, 'the throttle cannot look at the server');
          failing = true;
          this.#stood = false; // nobody knows when there will be a look again
          this.#tell();
          await this.#drop();
        }
      }
      await clock.sleep(Math.max(1, (next - clock.now()) * 1000), signal).catch(() => undefined);
    }
  }

  async #look(): Promise<void> {
    const { migration, lanes, clock } = this.#options;
    const client = await this.#session();
    if (this.#stood) {
      await this.#probeNow(client, this.#working, enough);
      this.#stood = false;
      this.#stoodAt = clock.now();
    }
    const done = lanes.totals.copied + lanes.totals.moved;
    const copying = done > this.#done || this.#working;
    this.#done = done;
    if (copying) this.#workedAt = clock.now();
    else if (clock.now() - this.#workedAt > idleAfter && this.#bound && !this.#drive.held)
      this.#drive = beginning;
    if (!copying && (this.#drive.share === 1 || this.#drive === beginning)) {
      // nothing to hold back: only what the operator wants, and now and then how things are without us
      this.#wal.forgetLooks();
      this.#obey(await readWishes(client, migration.id));
      const due = this.#latency.baseline === null || clock.now() - this.#probedAt >= idleProbeEvery;
      if (due) await this.#probeNow(client, false);
      return;
    }
    const { looked, wishes } = await look(client, migration.id, this.#names, this.#server?.version ?? 0);
    // what other work there is may have begun or ended meanwhile
    await this.#probeNow(client, this.#working || (copying && this.#drive.share > floor));
    const server = this.#server as ServerSettings;
    if (looked.forced !== null) this.#forcedBefore ??= looked.forced;
    this.#measured = {
      standbys: looked.standbys,
      slots: looked.slots,
      slotKeep: server.slotKeep,
      active: looked.active,
      maxConnections: server.maxConnections,
      wal: looked.wal === null ? null : this.#wal.add(clock.now(), looked.wal, done),
      walPerCheckpoint: server.walPerCheckpoint,
      forcedCheckpoints: looked.forced === null ? null : looked.forced - (this.#forcedBefore ?? 0),
      latency: this.#latency.measured,
      commit: this.#commit.measured,
    };
    const before = this.#drive;
    this.#drive = nextDrive(before, pressures(this.#measured, this.#settings.limits));
    const due = clock.now() - this.#stoodAt >= standEvery(this.#commit.young, this.#drive.share);
    if (copying && due && this.#settings.limits.maxLatency !== null) this.#stand();
    this.#wal.drivenAt(this.#driven.share);
    this.#obey(wishes);
    if (this.#drive.source !== before.source) await this.#say(client);
  }

  /** Tells the lanes. A migration that is not at work any more copies nothing, whatever the drive. */
  #obey(wishes: Awaited<ReturnType<typeof readWishes>>): void {
    const { migration } = this.#options;
    this.#atWork = wishes !== null && copies(wishes.status);
    const knobs = JSON.stringify(wishes?.knobs ?? {});
    if (wishes && knobs !== this.#knobs) {
      this.#knobs = knobs;
      this.#turnedAt = this.#options.clock.now();
      this.#settings = settingsOf(migration.definition, wishes.knobs);
    }
    this.#tell();
  }

  #tell(): void {
    const { lanes } = this.#options;
    const pace = paceOf(this.#atWork ? this.#driven : { ...this.#drive, share: 0 }, this.#settings);
    const now = lanes.pace;
    if (pace.share !== now.share || pace.chunkMs !== now.chunkMs || pace.rowsPerSecond !== now.rowsPerSecond)
      lanes.keep(pace);
  }

  #stand(): void {
    const { clock } = this.#options;
    this.#stood = true;
    const end = () => {
      this.#stood = false;
      this.#tell();
    };
    const since = ++this.#stands;
    void clock.sleep(longestStand * 1000, this.#stop.signal).then(
      () => since === this.#stands && this.#stood && end(),
      () => undefined,
    );
  }

  async #probeNow(client: Client, copying: boolean, times = probesAtOnce): Promise<void> {
    if (this.#settings.limits.maxLatency === null || !this.#atWork) return;
    this.#probedAt = this.#options.clock.now();
    const commits: number[] = [];
    for (let i = 0; i < times; i++) commits.push(await timeCommit(client));
    this.#commit.add(commits, copying, this.#drive.share);
    if (!this.#probe) return;
    const lookups = await timeProbe(client, this.#probe, times, this.#turn++);
    this.#latency.add(lookups, copying, this.#drive.share);
  }

  /** what the lanes are told: while they stand for a look, nothing is copied */
  get #driven(): Drive {
    return this.#stood ? { ...this.#drive, share: 0 } : this.#drive;
  }

  get #latencyUnknown(): boolean {
    return this.#atWork && this.#settings.limits.maxLatency !== null && this.#commit.baseline === null;
  }

  /** For the log, the events and whoever watches. */
  async #say(client: Client): Promise<void> {
    const { migration, clock, log, onChange } = this.#options;
    const { source, share, reason } = this.#drive;
    onChange(this.#drive);
    log.info({ migration: migration.name, source, share }, reason ?? 'the copy is at full speed again');
    if (clock.now() - this.#saidAt < saidEvery) return;
    this.#saidAt = clock.now();
    const message = reason ?? 'at full speed again';
    await recordEvent(client, migration.id, 'throttle', { message, source, share: round(share) });
  }

  async #session(): Promise<Client> {
    if (this.#client) return this.#client;
    const { migration, connect, log } = this.#options;
    const client = await connect();
    this.#client = client;
    await client.query(`set statement_timeout = ${probeTimeout}; set synchronous_commit = off`);
    this.#server = await serverSettings(client);
    const { names, unread } = await readable(client, this.#server.version);
    this.#names = names;
    this.#unread = unread;
    if (unread.length) {
      const message = `the throttle goes on without what this role may not read: ${unread.join(', ')}`;
      log.warn({ migration: migration.name }, message);
      await recordOnce(client, migration.id, 'warning', message);
    }
    this.#probe = await chooseProbe(client, migration.plan, migration.definition.throttle.probe);
    return client;
  }

  async #drop(): Promise<void> {
    const client = this.#client;
    this.#client = null;
    await client?.end().catch(() => undefined);
  }
}

const round = (value: number) => Math.round(value * 1000) / 1000;

/** Whether anything is copied in this status: not in a pause, and not on the way back. */
const copies = (status: Migration['status']) => ['SHADOWING', 'READY', 'IN_PROGRESS'].includes(status);
