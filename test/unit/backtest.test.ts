import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cutsOf, parseHorizon, parseShares, prefixGroup } from '../../src/backtest/options.ts';
import { run } from '../../src/cli/program.ts';
import { movingHotSet } from './model.synthetic.ts';

const at = (time: number) => ({ key: 'k', op: 'R', at: time }) as const;

describe('options', () => {
  it('reads horizons and shares, and says what is wrong', () => {
    expect(parseHorizon('0.1')).toEqual({ share: 0.1 });
    expect(parseHorizon('14400s')).toEqual({ seconds: 14_400 });
    expect(parseHorizon('4h')).toEqual({ seconds: 14_400 });
    for (const wrong of ['', '0', '-1', 'soon', '1.2.3', '5x'])
      expect(() => parseHorizon(wrong)).toThrow(/horizon/);
    expect(() => parseHorizon('14400')).toThrow(/14400s/);
    expect(parseShares('0.5,0.65,0.5', 'cuts')).toEqual([0.5, 0.65]);
    for (const wrong of ['', '0', '1', '0.5,', 'half'])
      expect(() => parseShares(wrong, 'cuts')).toThrow(/cuts/);
  });

  it('cuts by share of the span, or at a time, when what comes after must not matter', () => {
    const log = [at(100), at(150), at(300)];
    const horizon = { share: 0.1 };
    expect(cutsOf(log, { cuts: [0.5], horizon })).toEqual([{ cut: 0.5, at: 200, horizonSeconds: 20 }]);
    const atTime = cutsOf(log, { cuts: [0.5], at: 200, horizon });
    expect(atTime).toEqual([{ cut: null, at: 200, horizonSeconds: 10 }]);
    expect(cutsOf(log.slice(0, 2), { cuts: [0.5], at: 200, horizon })).toEqual(atTime);
    expect(() => cutsOf([], { cuts: [0.5], horizon })).toThrow(/no events/);
    expect(() => cutsOf([at(5)], { cuts: [0.5], horizon })).toThrow(/one time/);
    expect(() => cutsOf(log, { cuts: [], at: 100, horizon })).toThrow(/no events before 100/);
  });

  it('groups by what is before the first colon', () => {
    expect([prefixGroup('t1:r:2'), prefixGroup('plain'), prefixGroup(':x')]).toEqual(['t1', null, '']);
  });
});

describe('foreshadow backtest', () => {
  let folder: string;
  let events: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'foreshadow-backtest-'));
    events = join(folder, 'events.csv');
    const lines = movingHotSet({ seconds: 200 }).map(({ key, op, at: time }) => `${time},${key},${op}`);
    await writeFile(events, `ts_seconds,key,op\n${lines.join('\n')}\n`);
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  interface Result {
    readonly cut: number;
    readonly budget: number;
    readonly universe: number;
    readonly peak_rss_mb: number;
    readonly hit_share: Record<string, number | null> & { readonly oracle: number };
    readonly share_of_oracle: Record<string, number | null>;
    readonly policies: Record<'once' | 'admit' | 'rechoose', number>;
    readonly calibration: Record<'predicted' | 'realised' | 'lower' | 'upper', number>;
  }
  const json = async (...args: string[]) => {
    const written: string[] = [];
    const write = process.stdout.write;
    process.stdout.write = ((text: string) => written.push(text) > 0) as typeof write;
    try {
      expect(await run(['node', 'foreshadow', 'backtest', '--json', ...args])).toEqual({ exitCode: 0 });
    } finally {
      process.stdout.write = write;
    }
    return JSON.parse(written.join('')) as { schema: 1; cuts: Result[] };
  };

  it('scores each cut and budget as another program would, from the keys that it writes', async () => {
    const keysOut = join(folder, 'keys');
    const document = await json(
      '--events',
      events,
      '--cuts',
      '0.5,0.8',
      '--budget',
      '0.05,0.2',
      '--keys-out',
      keysOut,
    );
    expect(document.schema).toBe(1);
    expect(document.cuts.map(({ cut, budget }) => [cut, budget])).toEqual([
      [0.5, 0.05],
      [0.5, 0.2],
      [0.8, 0.05],
      [0.8, 0.2],
    ]);
    expect((await readdir(keysOut)).sort()).toContain('cut-0.5_budget-0.05.txt');
    const rows = (await readFile(events, 'utf8'))
      .split('\n')
      .slice(1, -1)
      .map((line) => line.split(',') as [string, string, string]);
    const [first, last] = [Number(rows[0]![0]), Number(rows.at(-1)![0])];
    for (const result of document.cuts) {
      const from = first + result.cut * (last - first);
      const to = from + 0.1 * (last - first);
      const text = await readFile(join(keysOut, `cut-${result.cut}_budget-${result.budget}.txt`), 'utf8');
      const chosen = new Set(text.trim().split('\n'));
      const past = new Set(rows.filter(([time]) => Number(time) < from).map(([, key]) => key));
      expect(result.universe).toBe(past.size);
      expect(chosen.size).toBe(Math.round(result.budget * past.size));
      expect([...chosen].every((key) => past.has(key))).toBe(true);
      const future = rows.filter(([time]) => Number(time) >= from && Number(time) < to).map(([, key]) => key);
      const share = future.filter((key) => chosen.has(key)).length / future.length;
      expect(result.hit_share.chosen).toBeCloseTo(share, 12);
      expect(result.share_of_oracle.chosen).toBeCloseTo(share / result.hit_share.oracle, 12);
      expect(result.policies.once).toBeCloseTo(share, 12);
      expect(result.policies.admit).toBeGreaterThanOrEqual(result.policies.once);
      const { predicted, realised, lower, upper } = result.calibration;
      expect(realised).toBeCloseTo(share, 12);
      expect(lower).toBeLessThan(predicted);
      expect(upper).toBeGreaterThan(predicted);
      expect(upper - lower).toBeLessThan(1);
      for (const name of ['random', 'lru', 'lfu', 'ewma', 'group', 'network', 'mix', 'nudge', 'half_future'])
        expect(result.hit_share[name]).toBeLessThanOrEqual(result.hit_share.oracle);
      expect(result.peak_rss_mb).toBeGreaterThan(10);
    }
  }, 120_000);

  it.each([
    ['seasonal-tenants', ['--calendar', 'data/samples/seasonal-tenants.calendar.csv', '--horizon', '4h']],
    ['order-lifecycle', ['--horizon', '0.1']],
  ])(
    'leaks nothing on %s: a file that ends at the cut gives every predictor the same keys',
    async (name, more) => {
      const text = gunzipSync(await readFile(`data/samples/${name}.csv.gz`)).toString();
      const lines = text.trimEnd().split('\n');
      const times = lines.slice(1).map((line) => Number(line.slice(0, line.indexOf(','))));
      const cut = Math.round(times[0]! + 0.7 * (times.at(-1)! - times[0]!));
      const file = join(folder, `${name}.csv`);
      const past = join(folder, `${name}-past.csv`);
      await writeFile(file, text);
      await writeFile(past, lines.filter((_, i) => i === 0 || times[i - 1]! < cut).join('\n'));
      const keysOf = async (events: string, keysOut: string) => {
        const found = await json(
          ...['--events', events, '--at', String(cut), '--budget', '0.1', '--keys-out', keysOut],
          ...more,
        );
        const files = (await readdir(keysOut)).sort();
        return {
          found,
          keys: await Promise.all(files.map((own) => readFile(join(keysOut, own), 'utf8'))),
          files,
        };
      };
      const whole = await keysOf(file, join(folder, `${name}-whole`));
      const truncated = await keysOf(past, join(folder, `${name}-past`));
      expect(whole.files.length).toBeGreaterThanOrEqual(7);
      expect(truncated.files).toEqual(whole.files);
      expect(truncated.keys).toEqual(whole.keys);
      expect(whole.found.cuts[0]!.hit_share.chosen).toBeGreaterThan(0);
      expect(truncated.found.cuts[0]!.hit_share).toBeNull();
    },
    240_000,
  );

  it('says what is wrong with its arguments', async () => {
    const failed = async (...args: string[]) => {
      const errors: string[] = [];
      const write = process.stderr.write;
      process.stderr.write = ((text: string) => errors.push(text) > 0) as typeof write;
      try {
        expect(await run(['node', 'foreshadow', 'backtest', ...args])).toEqual({ exitCode: 2 });
      } finally {
        process.stderr.write = write;
      }
      return errors.join('');
    };
    expect(await failed()).toContain('--events');
    expect(await failed('--events', join(folder, 'none.csv'))).toContain('none.csv');
    expect(await failed('--events', events, '--horizon', '1')).toContain('1s');
    expect(await failed('--events', events, '--at', '-1')).toContain('number');
    expect(await failed('--events', events, '--at', '0')).toContain('no events before 0');
  });
});
