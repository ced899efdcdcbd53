import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { startEmbedded } from '../../../src/db/embedded.ts';
import { serverEnvironment, serverUser } from '../../../src/db/embedded-user.ts';

/** An embedded server that can be ended the way a power cut ends one, and started again on the same port. */
export interface HostileServer extends AsyncDisposable {
  /** of a database on it */
  url(database: string): string;
  /** ends every session at once, without a checkpoint, and comes back by replaying the log */
  restartImmediately(): Promise<void>;
}

export async function startServer(): Promise<HostileServer> {
  const embedded = await startEmbedded({
    settings: {
      max_connections: '80',
      max_prepared_transactions: '20',
      shared_buffers: '128MB',
      autovacuum_naptime: '5s',
      deadlock_timeout: '500ms',
      logging_collector: 'off',
    },
  });
  const data = embedded.dataDirectory;
  const postmaster = async () =>
    Number((await readFile(join(data, 'postmaster.pid'), 'utf8')).split('\n')[0]);
  /** ours, from the first restart on */
  let mine: ReturnType<typeof spawn> | null = null;

  async function quit(): Promise<void> {
    const pid = await postmaster();
    process.kill(pid, 'SIGQUIT');
    for (let i = 0; i < 600 && alive(pid); i++) await sleep(10);
  }

  async function start(): Promise<void> {
    const program = /^(\S+)/.exec(await readFile(join(data, 'postmaster.opts'), 'utf8'))?.[1] as string;
    mine = spawn(program, ['-D', data], {
      ...(await serverUser()),
      cwd: '/',
      env: serverEnvironment,
      detached: true,
      stdio: 'ignore',
    });
    mine.unref();
    for (let i = 0; i < 500; i++) {
      if (await answers(embedded.url)) return;
      await sleep(20);
    }
    throw new Error('the server did not come back');
  }

  return {
    url(database) {
      const url = new URL(embedded.url);
      url.pathname = `/${database}`;
      return url.href;
    },
    async restartImmediately() {
      await quit();
      await start();
    },
    async [Symbol.asyncDispose]() {
      if (mine && mine.exitCode === null && mine.signalCode === null) {
        const ended = once(mine, 'exit');
        await quit();
        await ended;
      }
      await embedded.stop();
    },
  };
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function answers(url: string): Promise<boolean> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 2000 });
  client.on('error', () => {});
  try {
    await client.connect();
    await client.query('select 1');
    return true;
  } catch {
    return false;
  } finally {
    await client.end().catch(() => {});
  }
}
