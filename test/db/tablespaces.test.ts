import { expect, it } from 'vitest';
import { preflight } from '../../src/migration/preflight/preflight.ts';
import { migrationDatabase, migrationOf } from '../support/migrations.ts';

it('another tablespace than today is said, with the command that keeps the place', async () => {
  const db = await migrationDatabase(`
    create table s (id int primary key, v int); create index s_v on s (v);
    insert into s select g, g from generate_series(1, 50) g;
    create table t (id bigint primary key, v int);`);
  const space = `space_${db.name}`;
  const admin = await db.client();
  await admin.query('set allow_in_place_tablespaces = on');
  await admin.query(`create tablespace ${space} location ''`);
  const file = migrationOf({ map: { id: 'id::bigint' } });
  const said = async () =>
    (await preflight(db.ctx.pool, file)).checks
      .filter(({ id }) => id === 'tablespace')
      .map(({ status, message, hint }) => [status, message, hint]);
  const places = async () =>
    (
      await db.pool.query<{ name: string; space: string | null }>(
        `select relname as name, spcname as space from pg_class c left join pg_tablespace p on p.oid = c.reltablespace
          where relnamespace = 'public'::regnamespace and relname in ('s', 's_v') order by 1`,
      )
    ).rows;
  try {
    expect(await said()).toEqual([]);
    await admin.query(`alter table s set tablespace ${space}`);
    await admin.query(`alter index s_v set tablespace ${space}`);
    const table = [
      'warn',
      `public.t is in tablespace pg_default, the source in ${space}`,
      `To put it there while it is empty: alter table public.t set tablespace ${space}`,
    ];
    const index = [
      'warn',
      `index public.s_v is in tablespace ${space}; if it goes along, it is built in the database's own`,
      `After the write cutover: reindex (concurrently, tablespace ${space}) index NAME, by the name that it has then.`,
    ];
    expect(await said()).toEqual([table, index]);
    await admin.query((table[2] as string).replace(/.*: /, ''));
    expect(await said()).toEqual([index]);

    expect((await db.run(file)).status).toBe('COMPLETED');
    expect(await places()).toEqual([
      { name: 's', space },
      { name: 's_v', space: null },
    ]);
    await admin.query(`reindex (concurrently, tablespace ${space}) index s_v`);
    expect((await places())[1]).toEqual({ name: 's_v', space });
  } finally {
    await admin.query('drop table s cascade; drop table if exists foreshadow.s_old cascade');
    await admin.query(`drop tablespace ${space}`);
  }
});
