import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { loadConfig } from '../../src/config/config.ts';
import { loadHttpSettings } from '../../src/config/http-settings.ts';
import { failure } from './failure.ts';

const folder = mkdtempSync(join(tmpdir(), 'foreshadow-test-'));
afterAll(() => rmSync(folder, { recursive: true }));
const secret = 'sesame-sesame-sesame';

describe('settings of the server', () => {
  test('flag over environment over default, and frozen', () => {
    const settings = loadHttpSettings({});
    expect(settings).toEqual({ host: '127.0.0.1', port: 7474, tokens: [], rateLimit: 60_000 });
    expect(Object.isFrozen(settings)).toBe(true);
    const env = { FORESHADOW_HOST: 'localhost', FORESHADOW_PORT: '1', FORESHADOW_RATE_LIMIT: '0' };
    expect(loadHttpSettings(env)).toMatchObject({ host: 'localhost', port: 1, rateLimit: 0 });
    expect(loadHttpSettings(env, { host: '[::1]', port: '0' })).toMatchObject({ host: '::1', port: 0 });
  });

  test('are known settings, and are no part of what other threads and stages are given', () => {
    const config = loadConfig({ FORESHADOW_TOKENS: `a:admin:${secret}`, FORESHADOW_RATE_LIMIT: '1' });
    expect(JSON.stringify(config)).not.toContain('sesame');
    expect(failure(() => loadConfig({ FORESHADOW_TOKEN: 'x' })).message).toContain(
      'did you mean FORESHADOW_TOKENS?',
    );
  });

  test('tokens from the environment and from a file', () => {
    const path = join(folder, 'tokens');
    writeFileSync(path, `# people\n\nann:operate:${secret}-ann\r\nbob:read:${secret}-bob==\n`);
    const { tokens } = loadHttpSettings({
      FORESHADOW_HOST: '0.0.0.0',
      FORESHADOW_TOKENS: `ci:admin:${secret}, x.y:read:${secret}~/+._-`,
      FORESHADOW_TOKENS_FILE: path,
    });
    expect(tokens.map(({ name, role }) => `${name} ${role}`)).toEqual([
      'ci admin',
      'x.y read',
      'ann operate',
      'bob read',
    ]);
    expect(Object.isFrozen(tokens)).toBe(true);
  });

  test.each([
    '0.0.0.0',
    '::',
    '192.168.0.1',
    'db.example',
    '128.0.0.1',
    '127.example.com',
  ])('beyond loopback without tokens: %s', (host) => {
    expect(failure(() => loadHttpSettings({ FORESHADOW_HOST: host }))).toMatchObject({
      code: 'BAD_CONFIG',
      exitCode: 2,
      message: expect.stringMatching(/beyond this machine, needs FORESHADOW_TOKENS/),
    });
    expect(loadHttpSettings({ FORESHADOW_HOST: host, FORESHADOW_TOKENS: `a:read:${secret}` }).host).toBe(
      host,
    );
  });

  test.each([
    ['a role that is none', `ann:owner:${secret}`, /entry 1: its role is none of read, operate, admin/],
    ['a short secret', 'ann:read:sesame', /entry 1: a secret has at least 16/],
    ['a secret that no header can carry', `ann:read:${secret} x`, /entry 1: a secret is made of/],
    ['no name', `:read:${secret}`, /entry 1: a token is name:role:secret/],
    ['a secret alone', secret, /entry 1: /],
    ['a name twice', `ann:read:${secret}1,ann:read:${secret}2`, /entry 2: another token has the same name/],
    [
      'a secret twice',
      `ann:read:${secret},bob:admin:${secret}`,
      /entry 2: another token has the same secret/,
    ],
  ])('%s, without a word of any secret', (_title, tokens, says) => {
    const error = failure(() => loadHttpSettings({ FORESHADOW_TOKENS: tokens }));
    expect(error).toMatchObject({ code: 'BAD_CONFIG', message: expect.stringMatching(says) });
    expect(error.message).not.toContain('sesame');
  });

  test.each([
    [{ FORESHADOW_PORT: 'http' }, /FORESHADOW_PORT is a whole number/],
    [{ FORESHADOW_PORT: '65536' }, /from 0 to 65535/],
    [{ FORESHADOW_PORT: '-1' }, /FORESHADOW_PORT/],
    [{ FORESHADOW_RATE_LIMIT: '1.5' }, /FORESHADOW_RATE_LIMIT/],
    [{ FORESHADOW_HOST: 'a b' }, /FORESHADOW_HOST/],
    [{ FORESHADOW_TOKENS_FILE: '/nowhere/tokens' }, /cannot read FORESHADOW_TOKENS_FILE \/nowhere\/tokens/],
  ])('%j', (env, says) => {
    expect(failure(() => loadHttpSettings(env))).toMatchObject({
      code: 'BAD_CONFIG',
      message: expect.stringMatching(says),
    });
  });
});
