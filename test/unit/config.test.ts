import { parse } from 'pg-connection-string';
import { describe, expect, test } from 'vitest';
import { loadConfig, requireDatabaseUrl } from '../../src/config/config.ts';
import { failure } from './failure.ts';

describe('settings', () => {
  test('flag over environment over default, and frozen', () => {
    const env = {
      DATABASE_URL: 'postgres://h/env',
      FORESHADOW_MODELS: '/env',
      FORESHADOW_LOG_LEVEL: 'debug',
      HOME: '/root',
    };
    expect(loadConfig({})).toEqual({ databaseUrl: null, modelsDir: 'models', logLevel: 'warn' });
    expect(loadConfig(env)).toEqual({
      databaseUrl: 'postgres://h/env',
      modelsDir: '/env',
      logLevel: 'debug',
    });
    const config = loadConfig(env, {
      databaseUrl: 'postgres://h/flag',
      modelsDir: '/flag',
      logLevel: 'error',
    });
    expect(config).toEqual({ databaseUrl: 'postgres://h/flag', modelsDir: '/flag', logLevel: 'error' });
    expect(Object.isFrozen(config)).toBe(true);
  });

  test.each([
    ['FORESHADOW_LOGLEVEL', 'did you mean FORESHADOW_LOG_LEVEL?'],
    ['FORESHADOW_MODEL', 'did you mean FORESHADOW_MODELS?'],
    ['FORESHADOW_PROT', 'did you mean FORESHADOW_PORT?'],
    ['FORESHADOW_SOMETHING_ELSE', 'known: FORESHADOW_MODELS, FORESHADOW_LOG_LEVEL'],
  ])('unknown %s: %s', (name, says) => {
    const error = failure(() => loadConfig({ [name]: 'x' }));
    expect(error).toMatchObject({ code: 'BAD_CONFIG', exitCode: 2 });
    expect(error.message).toContain(`unknown setting ${name}`);
    expect(error.message).toContain(says);
  });

  test('a log level that is none', () => {
    expect(failure(() => loadConfig({ FORESHADOW_LOG_LEVEL: 'loud' }))).toMatchObject({
      code: 'BAD_CONFIG',
      message: expect.stringMatching(/loud is none of silent, error, warn, info, debug/),
    });
  });
});

describe("libpq's variables", () => {
  const address = (env: Record<string, string>) => {
    const { host, port, user, password, database } = parse(requireDatabaseUrl(loadConfig(env)));
    return { host, port, user, password, database };
  };
  test('name a server', () => {
    expect(
      address({ PGHOST: 'db', PGPORT: '6543', PGUSER: 'me@work', PGPASSWORD: 'p/w:?#@', PGDATABASE: 'a b' }),
    ).toEqual({
      host: 'db',
      port: '6543',
      user: 'me@work',
      password: 'p/w:?#@',
      database: 'a b',
    });
    expect(address({ PGDATABASE: 'shop' })).toMatchObject({
      host: 'localhost',
      port: '5432',
      database: 'shop',
    });
    expect(address({ PGHOST: 'db', PGUSER: 'me' })).toMatchObject({ host: 'db', user: 'me', database: 'me' });
  });
  test('name a socket', () => {
    expect(address({ PGHOST: '/var/run/pg', PGUSER: 'me', PGPASSWORD: 'p&w', PGDATABASE: 'shop' })).toEqual({
      host: '/var/run/pg',
      port: '5432',
      user: 'me',
      password: 'p&w',
      database: 'shop',
    });
  });
  test('give way to DATABASE_URL, a socket in it included', () => {
    expect(address({ DATABASE_URL: 'postgres://me:pw@/shop?host=/run', PGHOST: 'db' })).toMatchObject({
      host: '/run',
      user: 'me',
      password: 'pw',
      database: 'shop',
    });
  });
});

test.each([
  'shop',
  'mysql://me:sesame@h/x',
  'postgres://me:sesame@h:port/x',
  'postgres//me:sesame@h/x',
  '',
])('an address that is none, without a word of what it holds: %s', (url) => {
  const error = failure(() => requireDatabaseUrl(loadConfig({ DATABASE_URL: url })));
  expect(error).toMatchObject({
    code: 'BAD_CONFIG',
    exitCode: 2,
    message: expect.stringMatching(/postgres:\/\/user:password@host:port\/database/),
  });
  expect(error.message).not.toContain('sesame');
});
