import { randomBytes } from 'node:crypto';
import { mkdir, readdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import pg from 'pg';
import { type EmbeddedPostgres, startEmbedded } from '../db/embedded.ts';
import { Application } from './application.ts';
import { buildShop, createShopRole, migrationName } from './schema.ts';

/** A day of the shop, seconds: about twice as long as hit shares are measured for, so that they fall into one part of it. */
const day = 45;
const seed = 1;

export interface StageOptions {
  readonly rows: number;
  /** statements a second */
  readonly rate: number;
  readonly tell: (line: string) => void;
  readonly signal?: AbortSignal | undefined;
}

/** A server with a shop, and an application at work in it. */
export class Stage implements AsyncDisposable {
  readonly server: EmbeddedPostgres;
  /** for files of the demo; goes when the server goes, even if this process is killed */
  readonly folder: string;
  readonly rows: number;
  private shop: Application | null = null;

  private constructor(server: EmbeddedPostgres, folder: string, rows: number) {
    this.server = server;
    this.folder = folder;
    this.rows = rows;
  }

  /** @throws ForeshadowError EMBEDDED_FAILED, or the signal's reason; nothing is left behind then */
  static async set(options: StageOptions): Promise<Stage> {
    const { rows, rate, tell, signal } = options;
    const server = await startEmbedded({
      settings: { shared_buffers: '256MB', autovacuum_naptime: '5s' },
      log: tell,
    });
    const stage = new Stage(server, join(dirname(server.dataDirectory), 'demo'), rows);
    try {
      await mkdir(stage.folder);
      signal?.throwIfAborted();
      const url = await stage.build();
      tell(`the shop has ${rows.toLocaleString('en-US')} orders`);
      signal?.throwIfAborted();
      stage.shop = await Application.start({
        url,
        migration: migrationName,
        record: stage.record,
        seed,
        rate,
        day,
      });
      return stage;
    } catch (error) {
      await stage[Symbol.asyncDispose]();
      throw error;
    }
  }

  get application(): Application {
    if (!this.shop) throw new Error('the application has not started');
    return this.shop;
  }

  /** File with the application's record. */
  get record(): string {
    return join(this.folder, 'operations.csv');
  }

  /** The server's query log, as the migration file names it. */
  get queryLog(): string {
    if (!this.server.logGlob) throw new Error('the embedded PostgreSQL writes no jsonlog');
    return this.server.logGlob;
  }

  async queryLogBytes(): Promise<number> {
    const folder = dirname(this.queryLog);
    const names = (await readdir(folder)).filter((name) => name.endsWith('.json'));
    const sizes = await Promise.all(names.map(async (name) => (await stat(join(folder, name))).size));
    return sizes.reduce((sum, size) => sum + size, 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.shop?.kill();
    await this.server.stop();
  }

  /** @returns the application's own URL */
  private async build(): Promise<string> {
    const client = new pg.Client({ connectionString: this.server.url });
    client.on('error', () => {}); // a query on it will say so
    await client.connect();
    try {
      await buildShop(client, this.rows);
      const password = randomBytes(18).toString('hex');
      const url = new URL(this.server.url);
      url.username = await createShopRole(client, password);
      url.password = password;
      return url.href;
    } finally {
      await client.end();
    }
  }
}
