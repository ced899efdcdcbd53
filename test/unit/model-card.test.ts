import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { modelCard, saveModel } from '../../src/model/registry.ts';
import { type Trained, trainModel } from '../../src/model/train.ts';
import { movingHotSet } from './model.synthetic.ts';

let root: string;
let trained: Trained;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'foreshadow-cards-'));
  const options = { horizonSeconds: 15, budget: 0.15, seed: 11 } as const;
  trained = await trainModel({ ...options, accesses: movingHotSet(), now: 120 });
}, 60_000);
afterAll(async () => {
  trained.predictor.dispose();
  await rm(root, { recursive: true, force: true });
});

describe('model card', () => {
  it('is saved beside the model, and tells all that a reader of the manifest could find', async () => {
    const { path, manifest, version } = await saveModel(root, 'orders', trained.predictor);
    const card = await readFile(join(path, 'card.md'), 'utf8');
    expect(card).toBe(modelCard({ name: 'orders', version, manifest }));
    for (const fact of [
      '# Model orders/0001',
      `**${manifest.predictor}**: ${manifest.reason}`,
      '| horizon | 15 s:',
      `| half-life | ${Number(manifest.half_life.seconds.toPrecision(4))} s, chosen by ${manifest.half_life.reason}`,
      '| budget | 15 % of the keys seen so far |',
      '| seed | 11 |',
      `7,200 accesses to ${manifest.training.keys} keys`,
      '| from, until | 0 s to 120 s (120 s) |',
      manifest.training.sha256,
      '--name orders --horizon 15s --budget 0.15 --seed 11',
    ])
      expect(card).toContain(fact);
    expect(manifest.metrics.length).toBeGreaterThan(2);
    for (const window of manifest.metrics) {
      const line = card.split('\n').find((text) => text.startsWith(`| ${Number(window.at.toFixed(3))} s |`));
      for (const share of Object.values(window.shares))
        expect(line).toContain(`${Number((share * 100).toFixed(1))} %`);
    }
  });

  it('gives the paired difference to every other ranking, with its standard error from three windows on', () => {
    const { manifest } = trained;
    const windows = (shares: Record<string, number>[]) => ({
      ...manifest,
      files: { model_json_sha256: '', weights_bin_sha256: '' },
      predictor: 'network' as const,
      metrics: shares.map((share, i) => ({ at: i, rows: 10, shares: share })),
    });
    const card = modelCard({
      name: 'a',
      version: '0001',
      manifest: windows([
        { ewma: 0.5, oracle: 0.9, lru: 0.1 },
        { ewma: 0.5, network: 0.52, oracle: 0.9 },
        { ewma: 0.5, network: 0.54, oracle: 0.9 },
        { ewma: 0.5, network: 0.53, oracle: 0.9 },
      ]),
    });
    // s = 1 point, n = 3
    expect(card).toContain('- network − ewma: +3.00 points on 3 windows, standard error 0.58');
    expect(card).toContain('- network − oracle: −37.00 points on 3 windows, standard error 0.58');
    expect(card).toContain('- network − lru: no window in common');
    expect(card).toContain('| 0 s | 10 | 50 % | 90 % | 10 % | – |');
    expect(card).toContain('measured on 3 past windows');
    expect(modelCard({ name: 'a', version: '1', manifest: windows([]) })).toContain(
      'nothing is known of its quality',
    );
  });

  it('tells dates where times are dates, and how to make a model that is not from a log', () => {
    const { manifest } = trained;
    const at = Date.parse('2026-11-27T08:00:00Z') / 1000;
    const card = modelCard({
      name: 'a',
      version: '0001',
      manifest: {
        ...manifest,
        files: { model_json_sha256: '', weights_bin_sha256: '' },
        training: { ...manifest.training, from: at, until: at + 30 * 86_400 },
        table_rows: 2_000_000,
      },
      reproduce: 'npm run demo-model',
    });
    expect(card).toContain('2026-11-27T08:00:00Z to 2026-12-27T08:00:00Z (30 days)');
    expect(card).toContain('15 % of the table’s 2,000,000 rows');
    expect(card).toContain('```sh\nnpm run demo-model\n```');
    expect(card).not.toContain('foreshadow train');
  });
});
