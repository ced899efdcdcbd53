import type { Client, Pool } from 'pg';
import type { Logger } from 'pino';
import type { Config } from './config/config.ts';
import { requireDatabaseUrl } from './config/config.ts';
import { type Clock, systemClock } from './core/clock.ts';
import { armFailpoints } from './core/failpoint.ts';
import { checkReachable, createPool, openClient } from './db/pool.ts';
import { chooseBackend } from './model/index.ts';
import { createLogger } from './observability/logger.ts';

/** Everything a step needs from outside, put together once. Close it, or use `await using`. */
export interface Context extends AsyncDisposable {
  readonly config: Config;
  readonly log: Logger;
  readonly clock: Clock;
  readonly pool: Pool;
  readonly serverVersion: string;
  /** a connection of its own, outside the pool: for lanes and cutovers */
  connect(role: string): Promise<Client>;
  close(): Promise<void>;
}

/** @throws ForeshadowError BAD_CONFIG, DATABASE_UNREACHABLE, POOLED_CONNECTION */
export async function createContext(config: Config): Promise<Context> {
  const url = requireDatabaseUrl(config);
  if (config.backend) chooseBackend(config.backend);
  if (config.failpoints) armFailpoints(config.failpoints);
  const log = createLogger(config.logLevel);
  const pool = createPool({ url, applicationName: 'foreshadow', log });
  try {
    const { version } = await checkReachable(pool);
    const close = () => pool.end();
    return {
      config,
      log,
      clock: systemClock,
      pool,
      serverVersion: version,
      connect: (role) => openClient({ url, applicationName: `foreshadow ${role}`, log }),
      close,
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await pool.end();
    throw error;
  }
}
