import { afterEach, describe, expect, it } from 'vitest';
import { preflight } from '../../src/migration/preflight/preflight.ts';
import { atTheSwap } from '../chaos/rig.ts';
import { describeOlder, olderServer } from '../support/older-server.ts';

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const work of cleanups.splice(0).reverse()) await work();
});

const source = 'id int, n numeric(8, 2), w text, x text collate "C", tags int[], gone int';
const rows = `select g, g, 'w', 'x', array[g], g from generate_series(1, 20) g`;

/** T's columns, and what becomes of statements that return each column of S */
const cases: [title: string, target: string, map: Record<string, string>, breaks: string[]][] = [
  ['every type kept', source, {}, []],
  ['a wider key', source.replace('id int', 'id bigint'), { id: 'id::bigint' }, ['id', '*']],
  [
    'another precision',
    source.replace('numeric(8, 2)', 'numeric(14, 2)'),
    { n: 'n::numeric(14, 2)' },
    ['n', '*'],
  ],
  ['another collation', source.replace('text collate "C"', 'text'), { x: 'x' }, ['x', '*']],
  ['an element type', source.replace('int[]', 'bigint[]'), { tags: 'tags::bigint[]' }, ['tags', '*']],
  ['a column more', `${source}, more int`, { more: 'gone' }, ['*']],
  ['a column less', source.replace(', gone int', ''), {}, ['gone', '*']],
  ['another order of columns', `gone int, ${source.replace(', gone int', '')}`, {}, ['*']],
];

const define = (server: () => Promise<{ readonly url: string } | undefined>) =>
  it.each(
    cases,
  )('doctor names the statements that break at the swap, and no others: %s', async (_, target, map, breaks) => {
    const on = await server();
    const { m } = await atTheSwap(
      {
        setup: `create table s (${source}, primary key (id)); insert into s ${rows};
                create table t (${target}, primary key (id));`,
        file: { map },
        expected: 'select 1',
        ...(on ? { on } : {}),
      },
      cleanups,
    );
    const app = await m.db.client();
    const columns = ['id', 'n', 'w', 'x', 'tags', 'gone'];
    for (const column of [...columns, '*']) {
      const name = column === '*' ? 'everything' : `get_${column}`;
      await app.query(`prepare ${name}(int) as select ${column} from s where id = $1`);
      for (let i = 0; i < 7; i++) await app.query(`execute ${name}(3)`); // past the custom plans
    }
    await app.query('prepare write_it(int) as update s set w = w where id = $1');
    await m.cutOverWrites();
    const broken: string[] = [];
    for (const column of [...columns, '*']) {
      const name = column === '*' ? 'everything' : `get_${column}`;
      const answer = await app.query(`execute ${name}(3)`).catch((error: Error) => error.message);
      if (typeof answer !== 'string') continue;
      expect(answer).toMatch(/cached plan must not change result type|column "gone" does not exist/);
      broken.push(column);
    }
    expect(broken).toEqual(breaks);
    expect((await app.query('execute write_it(3)')).rowCount, 'nothing is returned, nothing breaks').toBe(1);

    // what doctor would have said before: the same two tables, as they were
    await m.db.pool.query(`create table before_s (${source}, primary key (id));
                           create table before_t (${target}, primary key (id));`);
    const file = { ...m.file, name: 'before', source: 'public.before_s', target: 'public.before_t' };
    const { checks } = await preflight(m.db.ctx.pool, file);
    const check = checks.find((each) => each.id === 'prepared statements');
    expect(check?.status).toBe(breaks.length ? 'warn' : 'ok');
    for (const column of columns)
      expect(check?.message.includes(`(${column}`), column).toBe(breaks.includes(column));
    if (breaks.includes('*')) expect(check?.message).toContain('cached plan must not change result type');
    const routed = { ...file, cutover: { ...file.cutover, finish: 'route' as const } };
    const other = (await preflight(m.db.ctx.pool, routed)).checks.find(
      (each) => each.id === 'prepared statements',
    );
    expect(other?.status).toBe('ok');
  });

describe('P11: prepared statements', () => {
  define(async () => undefined);
});

describeOlder('P11: prepared statements, on an older server', () => {
  let server: ReturnType<typeof olderServer> | null = null;
  define(async () => {
    server ??= olderServer();
    return server;
  });
});
