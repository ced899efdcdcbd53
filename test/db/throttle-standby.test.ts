import { chown, mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { EmbeddedPostgres } from '../../src/db/embedded.ts';
import { run, serverUser } from '../../src/db/embedded-user.ts';
import { describeMigration, type StatusDocument } from '../../src/migration/status.ts';
import { turnKnobs } from '../../src/migration/throttle/knobs.store.ts';
import { migrationDatabase, migrationOf } from '../support/migrations.ts';
import { describeOlder, olderBinaries, olderServer } from '../support/older-server.ts';

/** A standby that replays what it gets so many seconds late. */
async function standbyOf(primary: EmbeddedPostgres, delay: number): Promise<{ stop(): Promise<void> }> {
  const as = await serverUser();
  const folder = await mkdtemp(join(tmpdir(), 'foreshadow-standby-'));
  if (as.uid !== undefined) await chown(folder, as.uid, as.gid ?? as.uid);
  const data = join(folder, 'data');
  const [port, bin] = [await freePort(), olderBinaries as string];
  const must = async (program: string, args: readonly string[]) => {
    const { code, output } = await run(join(bin, program), args, as);
    if (code !== 0) throw new Error(`${program}: ${output}`);
  };
  await must('pg_basebackup', ['-d', primary.url, '-D', data, '-R', '-c', 'fast', '-X', 'stream']);
  const settings = `-p ${port} -c unix_socket_directories=${folder} -c recovery_min_apply_delay=${delay}s -c shared_buffers=16MB -c logging_collector=off`;
  await must('pg_ctl', ['-D', data, '-o', settings, '-l', join(folder, 'log'), '-w', 'start']);
  return {
    async stop() {
      await run(join(bin, 'pg_ctl'), ['-D', data, '-m', 'immediate', 'stop'], as);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

describeOlder('a standby that lags', () => {
  let primary: EmbeddedPostgres;
  let standby: { stop(): Promise<void> };
  beforeAll(async () => {
    primary = await olderServer({
      settings: { wal_level: 'replica', max_wal_senders: '4', hot_standby: 'on' },
    });
    standby = await standbyOf(primary, 3);
  });
  afterAll(() => standby?.stop());

  it('holds the copy, with its lag in the wait reason, until somebody lets go of it', async () => {
    const db = await migrationDatabase(
      `create table s (id int primary key, v int); insert into s select g, g from generate_series(1, 20000) g;
       create table t (id bigint primary key, v int);`,
      primary,
    );
    const file = migrationOf({
      map: { id: 'id::bigint' },
      copy: { rowsPerSecond: 1000 },
      throttle: { maxLag: '500ms', maxLatency: 'none', checkpointEvery: 'none' },
    });
    const running = db.run(file);
    running.catch(() => undefined);
    const until = async (holds: (status: StatusDocument) => boolean) => {
      for (;;) {
        const status = await describeMigration(db.ctx.pool, 'm').catch(() => null);
        if (status && holds(status)) return status;
        if (status?.status === 'COMPLETED') throw new Error('the copy was not held');
        await sleep(50);
      }
    };
    const held = /held: replica lag \d+(\.\d)? s > 0\.5 s \(\w+\)\)?$/;
    const waits = (status: StatusDocument) => held.test(status.wait_reason ?? '');
    // rows are not admitted to the shadow either
    await until((status) => status.status === 'SHADOWING' && waits(status));
    await turnKnobs(db.ctx.pool, 'm', { maxLag: 'none' }, 'test');
    await until(({ phase, rows }) => phase === 'copy' && rows.migrated > 0);
    await turnKnobs(db.ctx.pool, 'm', { maxLag: null }, 'test');
    const { throttle } = await until(waits);
    expect(throttle).toMatchObject({ share: 0, source: 'replica' });
    expect(throttle?.replica_lag_s).toBeGreaterThan(1);
    await turnKnobs(db.ctx.pool, 'm', { maxLag: 'none', rowsPerSecond: 'none' }, 'test');
    expect(await running).toMatchObject({ status: 'COMPLETED', verification: { missing: 0, different: 0 } });
  }, 120_000);
});
