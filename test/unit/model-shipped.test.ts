import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { sampleModel, sampleTrace } from '../../scripts/sample-model.ts';
import { FeatureEngine } from '../../src/features/engine.ts';
import { chooseTop } from '../../src/model/index.ts';
import { listModels, listVersions, loadModel, modelCard, readManifest } from '../../src/model/registry.ts';
import { hashLog, logBefore } from '../../src/model/replay.ts';

const models = fileURLToPath(new URL('../../models', import.meta.url));
const { name, now, horizonSeconds, budget, seed } = sampleModel;
const again = 'make it again: npm run sample-model';

describe('the models that we ship', () => {
  it(`are refused by nothing (${again})`, async () => {
    const names = await listModels(models);
    expect(names).toContain(name);
    for (const each of names) {
      for (const version of await listVersions(models, each)) {
        const predictor = await loadModel(models, each, version);
        expect(predictor.manifest.feature_spec.columns.length).toBeGreaterThan(10);
        predictor.dispose();
      }
    }
  }, 30_000);

  it(`are what their script makes of the sample trace (${again})`, async () => {
    const manifest = await readManifest(models, name, '0001');
    const log = await logBefore(sampleTrace(), now, () => undefined);
    expect(manifest).toMatchObject({
      training: { sha256: await hashLog(log, () => undefined), events: log.length, until: now },
      horizon_seconds: horizonSeconds,
      budget,
      seed,
    });
  });

  it(`have the card that belongs to their manifest, and are small (${again})`, async () => {
    const manifest = await readManifest(models, name, '0001');
    const folder = join(models, name, '0001');
    const card = await readFile(join(folder, 'card.md'), 'utf8');
    expect(card).toBe(
      modelCard({ name, version: '0001', manifest: manifest!, reproduce: 'npm run sample-model' }),
    );
    expect((await stat(join(folder, 'weights.bin'))).size).toBeLessThan(50_000);
  });

  it('predict days that they have not seen: a tenth of the rows serves most of the next half day', async () => {
    const predictor = await loadModel(models, name);
    const trace = sampleTrace();
    const engine = new FeatureEngine(predictor.manifest.feature_spec);
    engine.observeAll(trace.filter(({ at }) => at < now));
    const { keys, score } = await predictor.score(engine, now);
    predictor.dispose();
    const next = trace.filter(
      ({ at, key }) => at >= now && at < now + horizonSeconds && engine.slotOf(key) !== undefined,
    );
    const shareOf = (ranking: Float64Array) => {
      const chosen = new Set(chooseTop(keys, ranking, Math.round(budget * keys.length), seed));
      return next.filter(({ key }) => chosen.has(key)).length / next.length;
    };
    expect(next.length).toBeGreaterThan(200);
    expect(shareOf(score)).toBeGreaterThan(0.6);
    expect(shareOf(new Float64Array(keys.length))).toBeLessThan(0.2);
  });
});
