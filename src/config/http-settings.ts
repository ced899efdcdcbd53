import { readFileSync } from 'node:fs';
import { isIPv4 } from 'node:net';
import { ForeshadowError } from '../core/errors.ts';
import type { Environment } from './env.ts';

/** What a token may do, each with all before it. */
export const roles = ['read', 'operate', 'admin'] as const;
export type Role = (typeof roles)[number];

export interface Token {
  /** says who acted, in the audit and in limits; not secret */
  readonly name: string;
  readonly role: Role;
  readonly secret: string;
}

/** Settings of the HTTP server. Apart from Config, so that the secrets go nowhere else. Frozen. */
export interface HttpSettings {
  readonly host: string;
  /** 0: a free one */
  readonly port: number;
  readonly tokens: readonly Token[];
  /** requests a minute for each token or, without one, each address; 0: no limit */
  readonly rateLimit: number;
}

export const httpVariables = [
  'FORESHADOW_HOST',
  'FORESHADOW_PORT',
  'FORESHADOW_TOKENS',
  'FORESHADOW_TOKENS_FILE',
  'FORESHADOW_RATE_LIMIT',
] as const;

const bad = (message: string, cause?: unknown) => new ForeshadowError('BAD_CONFIG', message, {}, { cause });

/**
 * @throws ForeshadowError BAD_CONFIG for a bad value, never repeating a secret, and for an address beyond loopback
 * without tokens
 */
export function loadHttpSettings(
  env: Environment,
  flags: { readonly host?: string; readonly port?: string } = {},
): HttpSettings {
  const host = (flags.host ?? env.FORESHADOW_HOST ?? '127.0.0.1').replace(/^\[(.*)\]$/, '$1');
  if (!/^[A-Za-z0-9.:%_-]+$/.test(host)) throw bad(`FORESHADOW_HOST is not a host: ${host}`);
  const port = wholeNumber('FORESHADOW_PORT', flags.port ?? env.FORESHADOW_PORT ?? '7474', 65_535);
  const rateLimit = wholeNumber(
    'FORESHADOW_RATE_LIMIT',
    env.FORESHADOW_RATE_LIMIT ?? '60000',
    Number.MAX_SAFE_INTEGER,
  );
  const tokens = parseTokens(env);
  if (!tokens.length && !isLoopback(host)) {
    throw bad(
      `listening on ${host}, beyond this machine, needs FORESHADOW_TOKENS ("name:role:secret,…") or FORESHADOW_TOKENS_FILE`,
    );
  }
  return Object.freeze({ host, port, tokens, rateLimit });
}

/** Whether only this machine can reach an address or name. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIPv4(host) && host.startsWith('127.'));
}

function wholeNumber(name: string, text: string, most: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(value <= most)) throw bad(`${name} is a whole number from 0 to ${most}, not ${text}`);
  return value;
}

function parseTokens(env: Environment): readonly Token[] {
  const entries = [
    ...(env.FORESHADOW_TOKENS ?? '')
      .split(',')
      .map((text, i) => ({ text, at: `FORESHADOW_TOKENS, entry ${i + 1}` })),
    ...linesOf(env.FORESHADOW_TOKENS_FILE).map((text, i) => ({
      text,
      at: `FORESHADOW_TOKENS_FILE, line ${i + 1}`,
    })),
  ].filter(({ text }) => text.trim() !== '' && !text.trim().startsWith('#'));
  const tokens = entries.map(({ text, at }) => parseToken(text.trim(), at));
  for (const what of ['name', 'secret'] as const) {
    const seen = new Set<string>();
    for (const [i, token] of tokens.entries()) {
      if (seen.has(token[what])) throw bad(`${entries[i]?.at}: another token has the same ${what}`);
      seen.add(token[what]);
    }
  }
  return Object.freeze(tokens);
}

function linesOf(path: string | undefined): string[] {
  if (!path) return [];
  try {
    return readFileSync(path, 'utf8').split(/\r?\n/);
  } catch (cause) {
    throw bad(`cannot read FORESHADOW_TOKENS_FILE ${path}`, cause);
  }
}

function parseToken(text: string, at: string): Token {
  const [name = '', role = '', ...rest] = text.split(':');
  const secret = rest.join(':');
  if (!/^[A-Za-z0-9_.-]{1,64}$/.test(name))
    throw bad(`${at}: a token is name:role:secret, the name of A–Z a–z 0–9 _ . -`);
  if (!(roles as readonly string[]).includes(role))
    throw bad(`${at}: its role is none of ${roles.join(', ')}`);
  // what a header can carry as it is: RFC 6750's b64token
  if (!/^[A-Za-z0-9._~+/-]+=*$/.test(secret))
    throw bad(`${at}: a secret is made of A–Z a–z 0–9 . _ ~ + / - and may end with =`);
  if (secret.length < 16) throw bad(`${at}: a secret has at least 16 characters`);
  if (secret.length > 512) throw bad(`${at}: a secret has at most 512 characters`);
  return Object.freeze({ name, role: role as Role, secret });
}
