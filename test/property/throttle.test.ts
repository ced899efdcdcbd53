import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { parseMigrationFile } from '../../src/config/migration-file.ts';
import { type Drive, ease, floor, hold, nextDrive, unbridled } from '../../src/migration/throttle/drive.ts';
import { Latency, standEvery } from '../../src/migration/throttle/latency.ts';
import { paceOf, settingsOf } from '../../src/migration/throttle/limits.ts';
import {
  type Limits,
  type Measurement,
  type Pressure,
  pressures,
  sources,
} from '../../src/migration/throttle/rules.ts';
import { WalRate } from '../../src/migration/throttle/wal-rate.ts';
import { fullSpeed, mostChunkRows, nextChunkRows, restAfter } from '../../src/sync/pacing.ts';

const pressure: fc.Arbitrary<Pressure> = fc.record({
  source: fc.constantFrom(...sources),
  value: fc.double({ min: 0, max: 10, noNaN: true }),
  mayHold: fc.boolean(),
  reason: fc.constant('because'),
});
const many = fc.array(pressure, { maxLength: 6 });
const driven: fc.Arbitrary<Drive> = fc
  .array(many, { maxLength: 40 })
  .map((looks) => looks.reduce(nextDrive, unbridled));
const calm: readonly Pressure[] = [{ source: 'latency', value: 0.1, mayHold: false, reason: 'calm' }];

describe('the drive', () => {
  test('is a share, with a reason exactly while it is not whole', () => {
    fc.assert(
      fc.property(driven, ({ share, reason }) => {
        expect(share).toBeGreaterThanOrEqual(0);
        expect(share).toBeLessThanOrEqual(1);
        expect(share === 0 || share >= floor).toBe(true);
        expect(reason === null).toBe(share === 1);
      }),
    );
  });

  test('more pressure never makes it faster', () => {
    fc.assert(
      fc.property(driven, many, pressure, (before, found, more) => {
        expect(nextDrive(before, [...found, more]).share).toBeLessThanOrEqual(nextDrive(before, found).share);
      }),
    );
  });

  test('the strongest wish wins: what is weaker does not change it', () => {
    fc.assert(
      fc.property(driven, many, (before, found) => {
        const most = Math.max(...found.map(({ value }) => value), 0);
        const weaker = found.filter(({ value, mayHold }) => value < most && !mayHold);
        const without = found.filter((each) => !weaker.includes(each));
        expect(nextDrive(before, found).share).toBe(nextDrive(before, without).share);
      }),
    );
  });

  test('stops only for what may hold it, at twice its limit, and goes on when that is well below it', () => {
    fc.assert(
      fc.property(driven, many, (before, found) => {
        const held = found.some(({ mayHold, value }) => mayHold && value >= hold);
        const kept = before.share === 0 && found.some(({ mayHold, value }) => mayHold && value >= ease);
        expect(nextDrive(before, found).share === 0).toBe(held || kept);
      }),
    );
  });

  test('whatever happened, with room it is at full speed again within 30 looks', () => {
    fc.assert(
      fc.property(driven, (before) => {
        let now = before;
        for (let i = 0; i < 30; i++) now = nextDrive(now, calm);
        expect(now).toEqual(unbridled);
      }),
    );
  });

  test('comes to rest on a server where pressure follows the share: no swing of more than a quarter', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0, max: 0.7, noNaN: true }), // what others need
        fc.double({ min: 0.5, max: 12, noNaN: true }), // what the copy at full speed adds
        (others, ours) => {
          let now = unbridled;
          const shares: number[] = [];
          for (let i = 0; i < 200; i++) {
            const value = others + ours * now.share;
            now = nextDrive(now, [{ source: 'wal', value, mayHold: false, reason: '' }]);
            if (i >= 100) shares.push(now.share);
          }
          const [least, most] = [Math.min(...shares), Math.max(...shares)];
          expect(most).toBeLessThanOrEqual(Math.max(least * 1.3, least + 0.02));
        },
      ),
    );
  });

  it('slows down once for a bad moment, not again as long as it is remembered', () => {
    const latency = new Latency(2);
    let now: Drive = unbridled;
    const shares: number[] = [];
    for (let i = 0; i < 20; i++) {
      latency.add(Array(3).fill(i === 5 ? 500 : 2), true, now.share);
      now = nextDrive(now, pressures({ ...nothing, commit: latency.measured }, limits));
      shares.push(now.share);
    }
    expect(Math.min(...shares)).toBe(0.5);
    expect(shares.at(-1)).toBeGreaterThan(0.5);
  });

  it('goes on slowing down while it stays bad', () => {
    const latency = new Latency(2);
    let now: Drive = unbridled;
    for (let i = 0; i < 60; i++) {
      latency.add(Array(3).fill(50), true, now.share);
      now = nextDrive(now, pressures({ ...nothing, commit: latency.measured }, limits));
    }
    expect(now.share).toBe(floor);
  });

  /** What a rule on WAL makes of a server on which others write some, and the copy at full speed writes some. */
  function drivenByWal(others: (second: number) => number, ours: number): number[] {
    const perRow = 200; // bytes
    const limit = 1e7;
    let now: Drive = unbridled;
    let [bytes, rows] = [0, 0];
    const rate = new WalRate();
    const shares: number[] = [];
    for (let i = 0; i < 100; i++) {
      const wal = rate.add(i / 2, bytes, rows);
      now = nextDrive(now, pressures({ ...nothing, wal }, { ...unlimited, maxWalRate: limit }));
      rate.drivenAt(now.share);
      const copied = (0.5 * ours * now.share * limit) / perRow;
      bytes += 0.5 * others(i / 2) * limit + copied * perRow;
      rows += copied;
      shares.push(now.share);
    }
    return shares;
  }

  test('of a rate that is known only over seconds it keeps to the limit: no swing, no halt', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0, max: 0.5, noNaN: true }), // what others write, in limits
        fc.double({ min: 0.6, max: 6, noNaN: true }), // what the copy at full speed writes
        (others, ours) => {
          const right = Math.min(1, (1 - others) / ours);
          for (const share of drivenByWal(() => others, ours).slice(11)) {
            expect(share).toBeGreaterThan(0.5 * right);
            expect(share).toBeLessThanOrEqual(Math.max(1.3 * right, right + 0.05) + 1e-9);
          }
        },
      ),
    );
  });

  test('WAL that others write, however much, leaves the copy a part of the limit of its own', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 1, max: 10, noNaN: true }), // what others write for a while, in limits
        fc.double({ min: 0.6, max: 3, noNaN: true }), // what the copy at full speed writes
        (burst, ours) => {
          const shares = drivenByWal((second) => (second > 20 && second < 35 ? burst : 0), ours);
          const own = 0.1 / ours; // of the limit
          expect(Math.min(...shares)).toBeGreaterThan(0.5 * own);
          expect(shares[65], 'it gives way').toBeLessThanOrEqual(1.3 * own);
          expect(shares.at(-1), 'and comes back').toBeGreaterThan(0.5 * Math.min(1, 1 / ours));
        },
      ),
    );
  });
});

describe('the pace of lanes', () => {
  const pace = fc.record({
    share: fc.double({ min: 0, max: 1, noNaN: true }),
    chunkMs: fc.integer({ min: 1, max: 500 }),
    rowsPerSecond: fc.option(fc.integer({ min: 1, max: 1e6 }), { nil: null }),
  });

  test('a share of its time, and no more rows a second than allowed', () => {
    fc.assert(
      fc.property(
        pace,
        fc.integer({ min: 1, max: 16 }),
        fc.integer({ min: 1, max: 50_000 }),
        fc.double({ min: 0.1, max: 1000, noNaN: true }),
        (p, lanes, rows, ms) => {
          const rest = restAfter(p, lanes, rows, ms);
          expect(rest).toBeGreaterThanOrEqual(0);
          if (p.share === 0) expect(rest).toBe(Number.POSITIVE_INFINITY);
          else expect(ms / (ms + rest)).toBeLessThanOrEqual(p.share + 1e-9);
          if (p.rowsPerSecond !== null && p.share > 0)
            expect((lanes * rows) / ((ms + rest) / 1000)).toBeLessThanOrEqual(p.rowsPerSecond * (1 + 1e-9));
        },
      ),
    );
  });

  test('chunks find the size that takes their time, from any size, and again when rows become dearer', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0.002, max: 1, noNaN: true }),
        fc.double({ min: 0.002, max: 1, noNaN: true }),
        fc.integer({ min: 1, max: 5000 }),
        (cost, later, first) => {
          let rows = first;
          for (const ms of [cost, later]) {
            for (let i = 0; i < 80; i++) rows = nextChunkRows(rows, rows * ms, fullSpeed, 2, 5000);
            const target = Math.min(5000, fullSpeed.chunkMs / ms);
            expect(rows).toBeLessThanOrEqual(Math.max(100, target + 101));
            expect(rows).toBeGreaterThanOrEqual(Math.floor(Math.min(target, 5000) * 0.45));
          }
        },
      ),
    );
  });

  it('keeps a slow rate by small chunks', () => {
    expect(mostChunkRows({ ...fullSpeed, rowsPerSecond: 100 }, 2, 5000)).toBe(25);
    expect(mostChunkRows({ ...fullSpeed, rowsPerSecond: 1 }, 4, 5000)).toBe(1);
    expect(mostChunkRows(fullSpeed, 2, 5000)).toBe(5000);
  });
});

const nothing: Measurement = {
  standbys: [],
  slots: [],
  slotKeep: null,
  active: 0,
  maxConnections: 100,
  wal: { rate: 0, ours: 0, share: 1 },
  walPerCheckpoint: 5e8,
  forcedCheckpoints: 0,
  latency: null,
  commit: null,
};
const file = parseMigrationFile({ name: 'm', source: 'a', target: 'b', key: ['id'] });
const { limits } = settingsOf(file, {});
const unlimited = Object.fromEntries(Object.keys(limits).map((name) => [name, null])) as unknown as Limits;
const say = (measured: Partial<Measurement>, given: Partial<Limits> = {}) =>
  pressures({ ...nothing, ...measured }, { ...limits, ...given }).map(({ source, value, reason }) => ({
    source,
    value: Math.round(value * 100) / 100,
    reason,
  }));
const of = (source: string, measured: Partial<Measurement>, given: Partial<Limits> = {}) =>
  say(measured, given).find((each) => each.source === source);

describe('the rules', () => {
  it('a standby that lags', () => {
    const standbys = [
      { name: 'b', lag_s: 0.1, bytes: 10 },
      { name: 'a', lag_s: 4.2, bytes: 1e9 },
    ];
    expect(of('replica', { standbys })).toEqual({
      source: 'replica',
      value: 2.1,
      reason: 'replica lag 4.2 s > 2 s (a)',
    });
    expect(of('replica', { standbys }, { maxLag: null })).toBeUndefined();
    expect(of('replica', { standbys: [{ name: 'idle', lag_s: null, bytes: 0 }] })?.value).toBe(0);
    expect(of('replica', { standbys: null })).toBeUndefined();
  });

  it('a slot that is about to be lost, or keeps more than it may', () => {
    const slots = [{ name: 'x', retained: 9e8, safe: 1e8 }];
    expect(of('slot', { slots, slotKeep: 1e9 })).toEqual({
      source: 'slot',
      value: 2,
      reason: 'replication slot x is lost after 100 MB more of WAL',
    });
    expect(of('slot', { slots: [{ name: 'x', retained: 1, safe: 9e8 }], slotKeep: 1e9 })?.value).toBe(0.22);
    expect(of('slot', { slots: [{ name: 'x', retained: 3e9, safe: null }] })).toBeUndefined();
    expect(
      of('slot', { slots: [{ name: 'x', retained: 3e9, safe: null }] }, { maxSlotWal: 1e9 })?.reason,
    ).toBe('replication slot x keeps 3000 MB of WAL, the limit is 1000 MB');
  });

  it('sessions at work: a quarter of max_connections, at least 8, unless told', () => {
    expect(of('sessions', { active: 30 })).toEqual({
      source: 'sessions',
      value: 1.2,
      reason: '30 active sessions, the limit is 25',
    });
    expect(of('sessions', { active: 8, maxConnections: 20 })?.value).toBe(1);
    expect(of('sessions', { active: 8 }, { maxActive: 4 })?.value).toBe(2);
    expect(of('sessions', { active: null })).toBeUndefined();
  });

  it('WAL, by its rate and by the checkpoints that it would force', () => {
    const seen = (rate: number, ours: number | null) => ({ wal: { rate, ours, share: 1 } });
    expect(of('wal', seen(1e9, 1e9))).toBeUndefined();
    expect(of('wal', seen(3e7, null), { maxWalRate: 2e7 })).toEqual({
      source: 'wal',
      value: 1.5,
      reason: '30 MB/s of WAL, the limit is 20 MB/s',
    });
    expect(of('checkpoints', { ...seen(5e7, 5e7), forcedCheckpoints: 2 })).toEqual({
      source: 'checkpoints',
      value: 3,
      reason:
        '50 MB/s of WAL (at most 50 MB/s by the copy) would force a checkpoint every 10 s, the limit is 30 s; 2 forced since the copy began',
    });
    expect(of('wal', seen(3e7, 1.5e7), { maxWalRate: 2e7 })?.value, 'others leave 5').toBe(3);
    expect(of('wal', seen(3e7, 1e6), { maxWalRate: 2e7 })?.value, 'others leave none').toBe(0.5);
    expect(of('checkpoints', seen(5e7, 2e6))?.value, 'others leave none').toBe(0.24);
    expect(of('checkpoints', { wal: null })).toBeUndefined();
  });

  it('a probe that takes twice as long, and noticeably so', () => {
    expect(of('latency', { latency: { now: 30, baseline: 10, share: 1 } })).toEqual({
      source: 'latency',
      value: 1.5,
      reason: 'the probe takes 30.0 ms, 10.0 ms without the copy',
    });
    expect(of('latency', { latency: { now: 1.1, baseline: 0.1, share: 1 } })?.value).toBeLessThan(1);
    expect(of('commit', { commit: { now: 30, baseline: 10, share: 1 } })?.reason).toBe(
      'a commit takes 30.0 ms, 10.0 ms without the copy',
    );
  });
});

describe('knobs', () => {
  it('win over the file; none lets go', () => {
    const turned = settingsOf(file, { maxLag: 'none', rowsPerSecond: 500, chunkTime: '20ms' });
    expect(turned).toMatchObject({
      limits: { maxLag: null, maxActive: 'auto' },
      chunkMs: 20,
      rowsPerSecond: 500,
    });
    const limited = parseMigrationFile({ ...file, copy: { rowsPerSecond: 7 } });
    expect(settingsOf(limited, {}).rowsPerSecond).toBe(7);
    expect(settingsOf(limited, { rowsPerSecond: 'none' }).rowsPerSecond).toBeNull();
    expect(paceOf({ ...unbridled, share: 0.5 }, turned)).toMatchObject({
      share: 0.5,
      chunkMs: expect.closeTo(12, 6),
      rowsPerSecond: 500,
    });
  });
});

describe('what is remembered between looks', () => {
  it('latency without the copy is the baseline, also when others make it rise', () => {
    const latency = new Latency(null);
    latency.add([1, 1, 1, 1, 1, 1, 1, 1, 1], false, 1);
    expect(latency.measured, 'too few').toBeNull();
    latency.add([1, 9], false, 1);
    expect(latency.baseline).toBe(1);
    latency.add(Array(20).fill(5), true, 1);
    expect(latency.measured).toEqual({ now: 5, baseline: 1, share: 1 });
    expect(latency.young).toBe(true);
    latency.add(Array(20).fill(4), false, 1);
    expect(latency.measured, 'one time against the other').toEqual({ now: 4, baseline: 1, share: 1 });
    latency.add(Array(20).fill(4), false, 1);
    expect(latency.measured).toEqual({ now: 4, baseline: 4, share: 1 });
    expect(latency.young).toBe(false);
    latency.add(Array(10).fill(900), false, 1);
    expect(latency.baseline, 'one bad moment').toBe(4);
    expect(new Latency(3).baseline, 'of an earlier process').toBe(3);
  });

  it('it is measured anew every thirty seconds; sooner where one bad moment counts, or it costs little', () => {
    expect(standEvery(false, 1)).toBe(30);
    expect(standEvery(true, 1)).toBe(5);
    expect(standEvery(false, 0.2)).toBe(5);
  });

  it('latency tells at which share the slow ones were measured', () => {
    const latency = new Latency(1);
    latency.add(Array(6).fill(50), true, 0.8);
    latency.add(Array(14).fill(1), true, 0.2);
    expect(latency.measured).toEqual({ now: 50, baseline: 1, share: expect.closeTo(0.8, 9) });
    latency.add(Array(6).fill(2), true, 0.2);
    expect(latency.measured).toEqual({ now: 2, baseline: 1, share: expect.closeTo(0.2, 9) });
  });

  it('WAL a second over three seconds, with the share of the time, anew after a time without looks', () => {
    const rate = new WalRate();
    expect(rate.add(0, 100, 0)).toBeNull();
    rate.drivenAt(1);
    expect(rate.add(0.5, 200, 0)).toBeNull();
    rate.drivenAt(0.2);
    expect(rate.add(2, 500, 0)).toEqual({ rate: 200, ours: 0, share: (0.5 * 1 + 1.5 * 0.2) / 2 });
    rate.drivenAt(0);
    expect(rate.add(5, 500, 0)).toEqual({ rate: 0, ours: 0, share: 0 });
    expect(rate.add(60, 1e6, 0)).toBeNull();
    expect(rate.add(62, 5, 0), 'another server').toBeNull();
    expect(rate.add(64, 5, 0)).not.toBeNull();
    rate.forgetLooks();
    expect(rate.add(65, 5, 0), 'nothing was copied before').toBeNull();
  });

  it("which part of the WAL is the copy's: what a row takes at least, by the latest minute", () => {
    const rate = new WalRate();
    rate.add(0, 0, 0);
    expect(rate.add(2, 1e6, 100)?.ours, 'too few rows to tell').toBeNull();
    expect(rate.add(4, 3e6, 10_100)?.ours, 'all of it, at most').toBe(1e6);
    expect(rate.add(6, 9e6, 20_100)?.ours, "the rest is others'").toBe(1e6);
    expect(rate.add(8, 9e6 + 4e5, 30_100)?.ours).toBe(2e5);
    expect(rate.add(10, 1e8, 30_100)?.ours, 'nothing copied').toBe(0);
    for (let at = 12; at <= 80; at += 2) rate.add(at, 1e8 + (at - 10) * 1e6, 30_100 + (at - 10) * 1000);
    expect(rate.add(82, 1e8 + 72e6, 30_100 + 72_000)?.ours, 'rows became dearer').toBe(1e6);
  });
});
