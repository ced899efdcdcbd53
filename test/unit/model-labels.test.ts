import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, truncate, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  listVersions,
  loadModel,
  promote,
  readLabels,
  resolveVersion,
  rollback,
  saveModel,
  unlabel,
} from '../../src/model/registry.ts';
import { type Trained, trainModel } from '../../src/model/train.ts';
import { movingHotSet } from './model.synthetic.ts';

let root: string;
let trained: Trained;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'foreshadow-labels-'));
  trained = await trainModel({
    accesses: movingHotSet({ seconds: 30 }),
    now: 30,
    horizonSeconds: 15,
    budget: 0.1,
    seed: 1,
  });
}, 60_000);
afterAll(async () => {
  trained.predictor.dispose();
  await rm(root, { recursive: true, force: true });
});

/** A model with so many versions. */
async function modelOf(name: string, versions: number): Promise<string> {
  for (let i = 0; i < versions; i++) await saveModel(root, name, trained.predictor);
  return name;
}
const rest = async (name: string) =>
  (await readdir(join(root, name))).filter((entry) => !/^\d{4}$/.test(entry));
const damage = (name: string, version: string) => truncate(join(root, name, version, 'weights.bin'), 10);

describe('labels', () => {
  it('the stable version is the one that is loaded, whatever is saved later; a label is as good as a version', async () => {
    const name = await modelOf('pinned', 3);
    expect(await resolveVersion(root, name)).toBe('0003');
    expect(await promote(root, name, '0001')).toEqual({ stable: '0001' });
    expect(await promote(root, name, '0002', 'canary')).toEqual({ stable: '0001', canary: '0002' });
    await saveModel(root, name, trained.predictor);
    expect(await resolveVersion(root, name)).toBe('0001');
    expect(await resolveVersion(root, name, 'canary')).toBe('0002');
    expect(await resolveVersion(root, name, '0003')).toBe('0003');
    // what is loaded is the labelled one, not merely the one that is named
    await damage(name, '0002');
    (await loadModel(root, name)).dispose();
    await expect(loadModel(root, name, 'canary')).rejects.toThrow('model pinned/0002 is refused');
    expect(await promote(root, name, '0004', 'canary')).toEqual({ stable: '0001', canary: '0004' });
    expect(await promote(root, name, 'canary')).toEqual({ stable: '0004', canary: '0004' });
    expect(await unlabel(root, name)).toEqual({ canary: '0004' });
    expect(await unlabel(root, name, 'canary')).toEqual({});
    expect(await resolveVersion(root, name)).toBe('0004');
    await expect(loadModel(root, name, 'stable')).rejects.toMatchObject({ code: 'MODEL_REFUSED' });
    expect(await rest(name)).toEqual(['labels.json']);
  });

  it('a rollback goes back one promotion at a time, past what is broken, and then says that it cannot', async () => {
    const name = await modelOf('back', 5);
    for (const version of ['0002', '0005', '0003', '0003', '0004']) await promote(root, name, version);
    await damage(name, '0005');
    expect(await rollback(root, name)).toEqual({ from: '0004', to: '0003' });
    expect(await rollback(root, name)).toEqual({ from: '0003', to: '0002' });
    expect(await resolveVersion(root, name)).toBe('0002');
    // no promotion is left: the version before it
    expect(await rollback(root, name)).toEqual({ from: '0002', to: '0001' });
    await expect(rollback(root, name)).rejects.toMatchObject({
      code: 'USAGE',
      message: 'there is no version of model back before 0001 to go back to',
    });
    expect(await readLabels(root, name)).toEqual({ stable: '0001' });
  });

  it('without a promotion a rollback leaves the newest for the one before it', async () => {
    const name = await modelOf('unpinned', 3);
    expect(await rollback(root, name)).toEqual({ from: '0003', to: '0002' });
    await saveModel(root, name, trained.predictor);
    expect(await resolveVersion(root, name)).toBe('0002');
  });

  it('promotes nothing that could not be loaded, and nothing that is not there', async () => {
    const name = await modelOf('careful', 2);
    await damage(name, '0002');
    const refusal = { code: 'MODEL_REFUSED' };
    await expect(promote(root, name, '0002')).rejects.toMatchObject(refusal);
    await expect(promote(root, name, '0009')).rejects.toMatchObject(refusal);
    await expect(promote(root, name, 'canary')).rejects.toMatchObject(refusal);
    await expect(promote(root, 'none', '0001')).rejects.toMatchObject(refusal);
    await expect(rollback(root, 'none')).rejects.toMatchObject(refusal);
    await expect(unlabel(root, 'none')).rejects.toMatchObject(refusal);
    await expect(promote(root, '../up', '0001')).rejects.toMatchObject({ code: 'USAGE' });
    await expect(promote(root, name, '../0001')).rejects.toMatchObject({ code: 'USAGE' });
    await expect(rollback(root, '../up')).rejects.toMatchObject({ code: 'USAGE' });
    await expect(readLabels(root, '..')).rejects.toMatchObject({ code: 'USAGE' });
    expect(await readLabels(root, name)).toEqual({});
  });

  it.each([
    '{',
    'null',
    '[]',
    '{"schema":2}',
    '{"schema":1,"labels":{"stable":"../x"},"before":[]}',
  ])('refuses labels of %j rather than guess a version', async (content) => {
    const name = await modelOf('guess', 1);
    await writeFile(join(root, name, 'labels.json'), content);
    const refusal = { code: 'MODEL_REFUSED', message: expect.stringMatching(/labels\.json is not/) };
    await expect(loadModel(root, name)).rejects.toMatchObject(refusal);
    await expect(promote(root, name, '0001')).rejects.toMatchObject(refusal);
  });

  it('takes over the lock of a process that was killed', async () => {
    const name = await modelOf('killed', 1);
    const lock = join(root, name, '.labels.lock');
    await writeFile(lock, 'nobody');
    const longAgo = new Date(Date.now() - 60_000);
    await utimes(lock, longAgo, longAgo);
    const labels = await Promise.all([1, 2, 3, 4].map(() => promote(root, name, '0001')));
    expect(labels).toEqual(labels.map(() => ({ stable: '0001' })));
    expect(await rest(name)).toEqual(['labels.json']);
  });
});

describe('many at once', () => {
  it('no promotion is lost in one process', async () => {
    const name = await modelOf('crowd', 8);
    const versions = await listVersions(root, name);
    await Promise.all(versions.map((version) => promote(root, name, version)));
    const { labels, before } = JSON.parse(await readFile(join(root, name, 'labels.json'), 'utf8'));
    expect([...before, labels.stable].sort()).toEqual(versions);
    expect(await rest(name)).toEqual(['labels.json']);
  });

  it('several processes save and promote: every version whole, every promotion remembered, no reader disturbed', async () => {
    const name = await modelOf('processes', 1);
    await promote(root, name, '0001');
    const script = fileURLToPath(new URL('./model-labels.child.ts', import.meta.url));
    const rounds = 6;
    const children = [1, 2, 3].map(() =>
      spawn(process.execPath, ['--import', 'tsx', script, root, name, String(rounds)], {
        stdio: ['ignore', 'ignore', 'pipe'],
      }),
    );
    let running = children.length;
    const ended = Promise.all(children.map((child) => endOf(child).finally(() => running--)));
    let looks = 0;
    for (; running > 0; looks++) {
      const { stable } = await readLabels(root, name);
      expect(await listVersions(root, name)).toContain(stable);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    expect(await ended).toEqual([1, 2, 3].map(() => ({ code: 0, stderr: '' })));
    expect(looks).toBeGreaterThan(10);
    const versions = await listVersions(root, name);
    expect(versions).toHaveLength(1 + 3 * rounds);
    for (const version of versions) (await loadModel(root, name, version)).dispose();
    const { labels, before } = JSON.parse(await readFile(join(root, name, 'labels.json'), 'utf8'));
    expect([...before, labels.stable].sort()).toEqual(versions);
    expect(await rest(name)).toEqual(['labels.json']);
  }, 120_000);
});

async function endOf(child: ChildProcess): Promise<{ code: number; stderr: string }> {
  let stderr = '';
  child.stderr?.on('data', (chunk) => {
    stderr += chunk;
  });
  const [code] = await once(child, 'close');
  return { code, stderr };
}
