import type { LatencySeen } from './latency.ts';
import type { WalSeen } from './wal-rate.ts';

/** What was measured of the server at one moment. Null: it may not be read, or there is nothing to read. */
export interface Measurement {
  readonly standbys:
    | readonly { readonly name: string; readonly lag_s: number | null; readonly bytes: number | null }[]
    | null;
  readonly slots:
    | readonly { readonly name: string; readonly retained: number; readonly safe: number | null }[]
    | null;
  /** of max_slot_wal_keep_size in bytes; null: without limit */
  readonly slotKeep: number | null;
  /** sessions of others at work */
  readonly active: number | null;
  readonly maxConnections: number;
  /** bytes of WAL a second lately, and which part is the copy's; null before the second look */
  readonly wal: WalSeen | null;
  /** bytes of WAL from one checkpoint to the next, when WAL forces it */
  readonly walPerCheckpoint: number;
  /** checkpoints that WAL has forced since the copy began */
  readonly forcedCheckpoints: number | null;
  /** of the probe's lookups, and of commits */
  readonly latency: LatencySeen | null;
  readonly commit: LatencySeen | null;
}

/** What the rules hold it against; null: no limit. Seconds, bytes, bytes a second, a factor. */
export interface Limits {
  readonly maxLag: number | null;
  readonly maxSlotWal: number | null;
  readonly maxActive: number | 'auto' | null;
  readonly maxWalRate: number | null;
  readonly checkpointEvery: number | null;
  readonly maxLatency: number | null;
}

export const sources = ['replica', 'slot', 'sessions', 'wal', 'checkpoints', 'latency', 'commit'] as const;
export type Source = (typeof sources)[number];

/** How near one thing is to its limit. */
export interface Pressure {
  readonly source: Source;
  /** 1: at the limit */
  readonly value: number;
  /** at twice the limit the copy stops; what cannot be the copy's doing alone only slows it down */
  readonly mayHold: boolean;
  readonly reason: string;
  /** the share at which the copy was driven while this was measured; left out: as it is now */
  readonly over?: number;
  /** it grows with the share, so that the share is known at which it comes to its limit */
  readonly grows?: true;
}

type Rule = (m: Measurement, l: Limits) => Pressure | null;

/** A slot is lost when it keeps more than max_slot_wal_keep_size: this share of it is left alone. */
const slotReserve = 0.2;
/** A lookup that takes 0.2 ms longer is no harm, even if that is twice as long. */
const noticeable = 2;

const mb = (bytes: number) => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
const s = (seconds: number) => `${seconds < 10 ? Number(seconds.toFixed(1)) : Math.round(seconds)} s`;

const replica: Rule = ({ standbys }, { maxLag }) => {
  if (!standbys?.length || maxLag === null) return null;
  const worst = standbys.reduce((a, b) => ((b.lag_s ?? 0) > (a.lag_s ?? 0) ? b : a));
  const lag = worst.lag_s ?? 0;
  const over = lag > maxLag ? '>' : '≤';
  return pressure(
    'replica',
    lag / maxLag,
    true,
    `replica lag ${s(lag)} ${over} ${s(maxLag)} (${worst.name})`,
  );
};

const slot: Rule = ({ slots, slotKeep }, { maxSlotWal }) => {
  const found: Pressure[] = [];
  for (const { name, retained, safe } of slots ?? []) {
    if (safe !== null && slotKeep) {
      const reserve = slotReserve * slotKeep;
      // pressure 1 where the reserve begins, 2 where half of it is left
      const value = reserve / Math.max(1, safe);
      found.push(
        pressure(
          'slot',
          value,
          true,
          `replication slot ${name} is lost after ${mb(Math.max(0, safe))} more of WAL`,
        ),
      );
    }
    if (maxSlotWal !== null)
      found.push(
        pressure(
          'slot',
          retained / maxSlotWal,
          true,
          `replication slot ${name} keeps ${mb(retained)} of WAL, the limit is ${mb(maxSlotWal)}`,
        ),
      );
  }
  return strongest(found);
};

const sessions: Rule = ({ active, maxConnections }, { maxActive }) => {
  if (active === null || maxActive === null) return null;
  const limit = maxActive === 'auto' ? Math.max(8, Math.floor(maxConnections / 4)) : maxActive;
  return pressure('sessions', active / limit, true, `${active} active sessions, the limit is ${limit}`);
};

/**
 * Bytes of WAL a second against a limit for all who write. What others write is theirs: the copy may fill what they leave,
 * and has `least` of the limit whatever they do, since they would reach it without the copy too.
 */
function ofWal(
  source: 'wal' | 'checkpoints',
  { rate, ours, share }: WalSeen,
  limit: number,
  least: number,
  reason: string,
): Pressure {
  const part = ours ?? rate;
  const room = Math.max(limit - (rate - part), limit * least);
  return { ...pressure(source, part / room, false, reason), over: share, grows: true };
}
const written = ({ rate, ours }: WalSeen) =>
  `${mb(rate)}/s of WAL${ours === null ? '' : ` (at most ${mb(ours)}/s by the copy)`}`;

/** Somebody set this limit, and means it. */
const leastOfSet = 0.1;
/**
 * Checkpoints come half as often again at most as they would anyway, and that only where others write just as much as the
 * limit: beside a vacuum that writes twice the limit, a quarter as often again.
 */
const leastOfForced = 0.5;

const wal: Rule = ({ wal: seen }, { maxWalRate }) => {
  if (!seen || maxWalRate === null) return null;
  const reason = `${written(seen)}, the limit is ${mb(maxWalRate)}/s`;
  return ofWal('wal', seen, maxWalRate, leastOfSet, reason);
};

/** The interval that PostgreSQL itself warns of (checkpoint_warning) is reached at some rate of WAL: that is the limit. */
const checkpoints: Rule = ({ wal: seen, walPerCheckpoint, forcedCheckpoints }, { checkpointEvery }) => {
  if (!seen?.rate || checkpointEvery === null) return null;
  const every = walPerCheckpoint / seen.rate;
  const forced = forcedCheckpoints ? `; ${forcedCheckpoints} forced since the copy began` : '';
  const reason = `${written(seen)} would force a checkpoint every ${s(every)}, the limit is ${s(checkpointEvery)}${forced}`;
  return ofWal('checkpoints', seen, walPerCheckpoint / checkpointEvery, leastOfForced, reason);
};

const slower =
  (source: 'latency' | 'commit', what: string): Rule =>
  ({ [source]: measured }, { maxLatency }) => {
    if (!measured || maxLatency === null) return null;
    const { now, baseline, share } = measured;
    const limit = Math.max(maxLatency * baseline, baseline + noticeable);
    const reason = `${what} takes ${now.toFixed(1)} ms, ${baseline.toFixed(1)} ms without the copy`;
    return { ...pressure(source, now / limit, false, reason), over: share };
  };
const latency = slower('latency', 'the probe');
const commit = slower('commit', 'a commit');

const rules: Readonly<Record<Source, Rule>> = { replica, slot, sessions, wal, checkpoints, latency, commit };

/** What each rule says; rules without a limit or a measurement say nothing. */
export function pressures(measurement: Measurement, limits: Limits): Pressure[] {
  return sources.flatMap((source) => rules[source](measurement, limits) ?? []);
}

export function strongest(found: readonly Pressure[]): Pressure | null {
  return found.reduce<Pressure | null>((a, b) => (a === null || b.value > a.value ? b : a), null);
}

function pressure(source: Source, value: number, mayHold: boolean, reason: string): Pressure {
  return { source, value: Math.max(0, value), mayHold, reason };
}
