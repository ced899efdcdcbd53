import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import type { StatusDocument } from '../../src/migration/status.ts';
import { type Child, start } from '../chaos/child.ts';
import { type LedgerMigration, placeOf, underWriters, until } from '../chaos/ledger.ts';

const main = 'src/cli/main.ts';

interface Replica {
  readonly child: Child;
  readonly url: string;
}

/** `serve` as a process of its own, on a free port. */
async function replica({ db, folder }: LedgerMigration): Promise<Replica> {
  const child = start(process.execPath, ['--import', 'tsx', main, 'serve', '--port', '0', '--json'], {
    DATABASE_URL: db.url,
    FORESHADOW_MODELS: folder,
    FORESHADOW_LOG_LEVEL: 'warn',
  });
  await until('an address', 30, async () => {
    if (child.process.exitCode !== null) throw new Error(`serve ended: ${child.output.stderr}`);
    return child.output.stdout.includes('\n');
  });
  return { child, url: JSON.parse(child.output.stdout.split('\n')[0] as string).url };
}

async function ask(url: string, path: string, body?: unknown): Promise<{ status: number; body: never }> {
  const response = await fetch(`${url}${path}`, {
    ...(body === undefined
      ? {}
      : {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: typeof body === 'string' ? body : JSON.stringify(body),
        }),
  });
  return { status: response.status, body: (await response.json()) as never };
}

async function statusOf(url: string, name: string): Promise<StatusDocument> {
  return (await ask(url, `/api/v1/migrations/${name}/status`)).body;
}

async function untilCompleted(url: () => string, name: string): Promise<void> {
  await until('COMPLETED', 90, async () => {
    const now = await statusOf(url(), name);
    if (now.status === 'FAILED') throw new Error(JSON.stringify(now.error));
    return now.status === 'COMPLETED';
  });
}

describe('the service, under a live workload', () => {
  test('a migration posted, watched and scored over HTTP, and no process left after SIGTERM', async () => {
    await underWriters('served', async (migration) => {
      const { child, url } = await replica(migration);
      const file = await readFile(migration.path, 'utf8');
      const posted = await ask(url, '/api/v1/migrations', file);
      expect(posted).toMatchObject({ status: 202, body: { name: 'served' } });
      const events = Array.from({ length: 50 }, (_, i) => ({ key: [String(1 + (i % 5))], op: 'R' }));
      expect(await ask(url, '/api/v1/access-events', { migration: 'served', events })).toMatchObject({
        status: 202,
      });
      await until('a score', 20, async () => {
        const { status, body } = await ask(url, '/api/v1/scores', {
          migration: 'served',
          keys: [['1'], ['99999']],
        });
        expect(status).toBe(200);
        const { scores } = body as { scores: { known: boolean; score: number }[] };
        return scores[0]?.known === true && scores[1]?.known === false && scores[0].score > scores[1].score;
      });
      await untilCompleted(() => url, 'served');
      child.process.kill('SIGTERM');
      expect(await child.ended, child.output.stderr).toBe(0);
    });
  }, 150_000);

  test('two replicas, each killed -9 in its turn: the other one goes on, and nothing is lost', async () => {
    await underWriters('two', async (migration) => {
      const replicas = [await replica(migration), await replica(migration)];
      const alive = () =>
        replicas.find(({ child }) => child.process.exitCode === null && !child.process.killed) as Replica;
      await ask(replicas[0]!.url, '/api/v1/migrations', await readFile(migration.path, 'utf8'));
      for (const state of ['SHADOWING', 'IN_PROGRESS']) {
        await until(`${state}, in the hands of a replica`, 60, async () => {
          const { status } = await placeOf(migration.db);
          return status === state && (await holderPid(migration)) !== null;
        });
        await sleep(300);
        const holder = await holderPid(migration);
        const victim = replicas.findIndex(({ child }) => child.process.pid === holder);
        expect(victim, `the holder ${holder} is one of ours`).toBeGreaterThanOrEqual(0);
        replicas[victim]!.child.process.kill('SIGKILL');
        await replicas[victim]!.child.ended;
        replicas.splice(victim, 1, await replica(migration));
      }
      await untilCompleted(() => alive().url, 'two');
      for (const { child } of replicas) child.process.kill('SIGTERM');
      for (const { child } of replicas) expect(await child.ended, child.output.stderr).toBe(0);
    });
  }, 200_000);
});

/** The process that has the migration in hand, by the name that its lease carries. */
async function holderPid({ db }: LedgerMigration): Promise<number | null> {
  const { rows } = await db.pool.query<{ holder: string }>(
    "select holder from foreshadow.lease where kind = 'migrate' and until > clock_timestamp()",
  );
  const pid = /:(\d+):/.exec(rows[0]?.holder ?? '')?.[1];
  return pid ? Number(pid) : null;
}
