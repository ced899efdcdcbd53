import { closest, distance } from 'fastest-levenshtein';
import { ForeshadowError } from '../core/errors.ts';
import { type BackendName, backendOf } from './backend.ts';
import type { Environment } from './env.ts';
import { httpVariables } from './http-settings.ts';

export const logLevels = ['silent', 'error', 'warn', 'info', 'debug'] as const;
export type LogLevel = (typeof logLevels)[number];

/** Settings of the process, from flags over environment over defaults. Frozen. */
export interface Config {
  /** null: nobody named a database */
  readonly databaseUrl: string | null;
  /** folder of the model registry */
  readonly modelsDir: string;
  readonly logLevel: LogLevel;
  /** what TensorFlow.js computes on; absent: the fastest that can be had */
  readonly backend?: BackendName;
  /** places where this process is to die or stop, for tests (core/failpoint.ts) */
  readonly failpoints?: string;
  /** for `queryLog.hashKeys`: what the hashes of keys are made with */
  readonly keySecret?: string;
}

const ours: readonly string[] = [
  'FORESHADOW_MODELS',
  'FORESHADOW_LOG_LEVEL',
  'FORESHADOW_BACKEND',
  'FORESHADOW_FAILPOINTS',
  'FORESHADOW_KEY_SECRET',
  ...httpVariables,
];

/**
 * @throws ForeshadowError BAD_CONFIG for an unknown FORESHADOW_ variable (with a suggestion) or a bad value
 */
export function loadConfig(env: Environment, flags: Partial<Config> = {}): Config {
  for (const name of Object.keys(env)) {
    if (!name.startsWith('FORESHADOW_') || ours.includes(name)) continue;
    const near = closest(name, ours);
    const hint = distance(name, near) <= 4 ? `; did you mean ${near}?` : `; known: ${ours.join(', ')}`;
    throw new ForeshadowError('BAD_CONFIG', `unknown setting ${name}${hint}`);
  }
  const level = flags.logLevel ?? env.FORESHADOW_LOG_LEVEL ?? 'warn';
  if (!(logLevels as readonly string[]).includes(level)) {
    throw new ForeshadowError('BAD_CONFIG', `log level ${level} is none of ${logLevels.join(', ')}`);
  }
  const secret = env.FORESHADOW_KEY_SECRET;
  if (secret !== undefined && secret.length < 16)
    throw new ForeshadowError('BAD_CONFIG', 'FORESHADOW_KEY_SECRET must have 16 characters or more');
  const backend = flags.backend ?? backendOf(env);
  return Object.freeze({
    databaseUrl: flags.databaseUrl ?? databaseUrl(env),
    modelsDir: flags.modelsDir ?? env.FORESHADOW_MODELS ?? 'models',
    logLevel: level as LogLevel,
    ...(backend ? { backend } : {}),
    ...(secret ? { keySecret: secret } : {}),
    ...(env.FORESHADOW_FAILPOINTS ? { failpoints: env.FORESHADOW_FAILPOINTS } : {}),
  });
}

/** DATABASE_URL, else what libpq's own variables say, else null. */
function databaseUrl(env: Environment): string | null {
  if (env.DATABASE_URL) return env.DATABASE_URL;
  if (!env.PGHOST && !env.PGDATABASE) return null;
  const part = (value: string | undefined) => encodeURIComponent(value ?? '');
  const { PGHOST: host = 'localhost', PGPORT: port = '5432', PGUSER: user, PGPASSWORD: password } = env;
  const database = part(env.PGDATABASE ?? user);
  if (host.startsWith('/')) {
    // A socket has no place before the path of a URL, and then neither have user and password.
    const all = { host, port, ...(user ? { user } : {}), ...(user && password ? { password } : {}) };
    return `postgres:///${database}?${Object.entries(all)
      .map(([name, value]) => `${name}=${part(value)}`)
      .join('&')}`;
  }
  const login = user ? `${part(user)}${password ? `:${part(password)}` : ''}@` : '';
  return `postgres://${login}${host}:${port}/${database}`;
}

/** @throws ForeshadowError BAD_CONFIG, without repeating an address that may hold a password */
export function requireDatabaseUrl(config: Config): string {
  const form = 'postgres://user:password@host:port/database';
  // "user@/database?host=/socket" is usual, and no URL.
  const url = config.databaseUrl?.replace(/^(\w+:\/\/[^/?#]*@)\//, '$1localhost/');
  if (!url)
    throw new ForeshadowError('BAD_CONFIG', `no database: set DATABASE_URL (${form}) or PGHOST and its like`);
  if (!/^postgres(ql)?:\/\//.test(url) || !URL.canParse(url))
    throw new ForeshadowError('BAD_CONFIG', `the database's address is not of the form ${form}`);
  return url;
}
