import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import type { Config } from '../config/config.ts';
import { readEnvironment } from '../config/env.ts';
import { loadHttpSettings } from '../config/http-settings.ts';
import { migrationFile } from '../demo/schema.ts';
import { Stage } from '../demo/stage.ts';
import { type Service, startService } from '../http/start.ts';
import { type CommonFlags, configOf, interruptible, print, remark, say } from './output.ts';

interface ServeFlags extends CommonFlags {
  readonly host?: string;
  readonly port?: string;
}

/** Enough to watch a migration, and little enough to leave a small machine its time. */
const sample = { rows: 20_000, rate: 100 };

/** After a signal, or after a failure, the process is gone by then, whatever hangs. */
const graceMs = 10_000;

export function serveCommand(program: Command): Command {
  return program
    .command('serve')
    .description(
      'the service: HTTP API, scores, and the job runner; on a throw-away database with a live shop if none is named',
    )
    .option('--host <host>', 'where to listen (FORESHADOW_HOST, or 127.0.0.1); beyond loopback needs tokens')
    .option('--port <port>', 'where to listen (FORESHADOW_PORT, or 7474)')
    .action(async (flags: ServeFlags, command: Command) => {
      const settings = loadHttpSettings(readEnvironment(), flags);
      const given = withRequestLog(configOf(command), command);
      await interruptible(async (signal) => {
        const shop = given.databaseUrl ? null : await Shop.open(signal);
        const config = shop ? shop.configFrom(given, command) : given;
        let service: Service | undefined;
        let deadline: NodeJS.Timeout | undefined;
        try {
          service = await startService(config, settings);
          announce(service, shop, flags);
          const failure = await Promise.race([service.failed, aborted(signal)]);
          deadline = setTimeout(() => process.exit(1), graceMs);
          deadline.unref();
          if (failure) {
            remark(`foreshadow: the service cannot go on: ${failure.message}`);
            process.exitCode = 1;
          }
        } finally {
          await service?.stop();
          await shop?.close();
        }
      });
    });
}

function announce({ url }: Service, shop: Shop | null, flags: ServeFlags): void {
  const docs = `${url}/docs`;
  if (flags.json) {
    print({ schema: 1, url, docs, database_url: shop?.url ?? null, migration_file: shop?.file ?? null });
    return;
  }
  say(`foreshadow listens on ${url}`);
  say(`  documentation: ${docs}`);
  say(`  ready:         ${url}/health/ready`);
  if (!shop) return;
  const json = "-H 'content-type: application/json'";
  say('\nA shop is open on a throw-away database, gone when this ends. Migrate its orders:');
  say(`  curl ${url}/api/v1/migrations ${json} -d @${shop.file}`);
  say(`  curl ${url}/api/v1/migrations/orders-v2/status`);
  say(`  curl ${url}/api/v1/scores ${json} -d '{"migration": "orders-v2", "keys": [["1"], ["20000"]]}'`);
  say('Set DATABASE_URL to use a database of your own.');
}

/** A service tells what it answers, unless it was told not to. */
function withRequestLog(config: Config, command: Command): Config {
  const told =
    readEnvironment().FORESHADOW_LOG_LEVEL ?? (command.optsWithGlobals() as { logLevel?: string }).logLevel;
  return told ? config : Object.freeze({ ...config, logLevel: 'info' });
}

/** What `serve` stands on without a database of the user's: the demo's shop, with its live application. */
class Shop {
  /** a migration of its orders, ready to be posted */
  readonly file: string;
  readonly #stage: Stage;

  private constructor(stage: Stage, file: string) {
    this.#stage = stage;
    this.file = file;
  }

  static async open(signal: AbortSignal): Promise<Shop> {
    const stage = await Stage.set({ ...sample, tell: remark, signal });
    const file = join(stage.folder, 'orders-v2.json');
    const { rows, queryLog } = stage;
    await writeFile(file, JSON.stringify(migrationFile({ rows, queryLog }), null, 2));
    return new Shop(stage, file);
  }

  get url(): string {
    return this.#stage.server.url;
  }

  /** Models go the way of their data. */
  configFrom(config: Config, command: Command): Config {
    const told =
      readEnvironment().FORESHADOW_MODELS ?? (command.optsWithGlobals() as { models?: string }).models;
    const modelsDir = told ? config.modelsDir : join(this.#stage.folder, 'models');
    return Object.freeze({ ...config, databaseUrl: this.url, modelsDir });
  }

  async close(): Promise<void> {
    await this.#stage[Symbol.asyncDispose]();
  }
}

function aborted(signal: AbortSignal): Promise<null> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve(null);
    signal.addEventListener('abort', () => resolve(null), { once: true });
  });
}
