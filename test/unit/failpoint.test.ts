import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/config/config.ts';
import {
  armedFailpoints,
  armFailpoints,
  disarmFailpoints,
  failpoint,
  failpoints,
} from '../../src/core/failpoint.ts';

const source = fileURLToPath(new URL('../../src', import.meta.url));
const code = readdirSync(source, { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.ts') && path !== join('core', 'failpoint.ts'))
  .map((path) => readFileSync(join(source, path), 'utf8'))
  .join('\n');

describe('failpoints', () => {
  afterEach(disarmFailpoints);

  it('are unarmed by default, and then do nothing at all', () => {
    expect(armedFailpoints()).toEqual([]);
    for (const name of failpoints) expect(failpoint(name)).toBeUndefined();
    expect(loadConfig({})).not.toHaveProperty('failpoints');
  });

  it('are armed by the environment only', () => {
    expect(loadConfig({ FORESHADOW_FAILPOINTS: 'lane.fenced=kill' }).failpoints).toBe('lane.fenced=kill');
  });

  it('are at least 25, and each stands at exactly one line', () => {
    expect(failpoints.length).toBeGreaterThanOrEqual(25);
    expect(new Set(failpoints).size).toBe(failpoints.length);
    const standing = [...code.matchAll(/\bfailpoint\('([^']+)'\)/g)].map((match) => match[1]);
    expect(standing.sort()).toEqual([...failpoints].sort());
  });

  it('act once, at the pass that was asked for', async () => {
    armFailpoints('lane.fenced=error:3,lane.claimed=sleep(1)');
    await failpoint('lane.fenced');
    await failpoint('lane.fenced');
    await expect(failpoint('lane.fenced')).rejects.toMatchObject({ code: '40001' });
    await failpoint('lane.fenced');
    await failpoint('lane.claimed');
    expect(armedFailpoints()).toEqual([]);
  });

  it.each([
    'lane.fenced',
    'lane.fnced=kill',
    'lane.fenced=explode',
    'lane.fenced=kill:x',
  ])('refuse %s', (text) => {
    expect(() => armFailpoints(text)).toThrow(/FORESHADOW_FAILPOINTS/);
  });
});
