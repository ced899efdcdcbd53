import { dirname, join } from 'node:path';
import type { Command } from 'commander';
import type { Config } from '../config/config.ts';
import { readEnvironment } from '../config/env.ts';
import { loadHttpSettings } from '../config/http-settings.ts';
import { type EmbeddedPostgres, startEmbedded } from '../db/embedded.ts';
import { type Service, startService } from '../http/start.ts';
import { type CommonFlags, configOf, interruptible, print, remark, say } from './output.ts';

interface ServeFlags extends CommonFlags {
  readonly host?: string;
  readonly port?: string;
}

/** After a signal, or after a failure, the process is gone by then, whatever hangs. */
const graceMs = 10_000;

export function serveCommand(program: Command): Command {
  return program
    .command('serve')
    .description('the service: HTTP API, scores, and the job runner; a throw-away database if none is named')
    .option('--host <host>', 'where to listen (FORESHADOW_HOST, or 127.0.0.1); beyond loopback needs tokens')
    .option('--port <port>', 'where to listen (FORESHADOW_PORT, or 7474)')
    .action(async (flags: ServeFlags, command: Command) => {
      const settings = loadHttpSettings(readEnvironment(), flags);
      const given = withRequestLog(configOf(command), command);
      await interruptible(async (signal) => {
        const database = given.databaseUrl ? null : await throwAwayDatabase();
        const config = database ? configFor(database, given, command) : given;
        let service: Service | undefined;
        let deadline: NodeJS.Timeout | undefined;
        try {
          service = await startService(config, settings);
          announce(service, database, flags);
          const failure = await Promise.race([service.failed, aborted(signal)]);
          deadline = setTimeout(() => process.exit(1), graceMs);
          deadline.unref();
          if (failure) {
            remark(`foreshadow: the service cannot go on: ${failure.message}`);
            process.exitCode = 1;
          }
        } finally {
          await service?.stop();
          await database?.stop();
        }
      });
    });
}

function announce(service: Service, database: EmbeddedPostgres | null, flags: ServeFlags): void {
  const { url } = service;
  if (flags.json) {
    print({ schema: 1, url, docs: `${url}/docs`, database_url: database?.url ?? null });
    return;
  }
  say(`foreshadow listens on ${url}`);
  say(`  documentation: ${url}/docs`);
  say(`  ready:         ${url}/health/ready`);
}

/** A service tells what it answers, unless it was told not to. */
function withRequestLog(config: Config, command: Command): Config {
  const told =
    readEnvironment().FORESHADOW_LOG_LEVEL ?? (command.optsWithGlobals() as { logLevel?: string }).logLevel;
  return told ? config : Object.freeze({ ...config, logLevel: 'info' });
}

async function throwAwayDatabase(): Promise<EmbeddedPostgres> {
  const database = await startEmbedded({ settings: { log_statement: 'all' }, log: remark });
  remark('foreshadow: a throw-away database, gone when this ends; set DATABASE_URL for your own');
  remark(`  its URL:       ${database.url}`);
  if (database.logGlob) remark(`  its query log: ${database.logGlob}`);
  return database;
}

/** Our own statements are not what the query log is for; models go the way of their data. */
function configFor(database: EmbeddedPostgres, config: Config, command: Command): Config {
  const url = new URL(database.url);
  url.searchParams.set('options', '-c log_statement=none');
  const told =
    readEnvironment().FORESHADOW_MODELS ?? (command.optsWithGlobals() as { models?: string }).models;
  const modelsDir = told ? config.modelsDir : join(dirname(database.dataDirectory), 'models');
  return Object.freeze({ ...config, databaseUrl: url.href, modelsDir });
}

function aborted(signal: AbortSignal): Promise<null> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve(null);
    signal.addEventListener('abort', () => resolve(null), { once: true });
  });
}
