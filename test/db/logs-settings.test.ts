import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from 'pg';
import { beforeAll, describe, expect, test } from 'vitest';
import { type EmbeddedPostgres, startEmbedded } from '../../src/db/embedded.ts';
import { type ExecutedStatement, logOptionsOf, type ReadLogOptions, readLog } from '../../src/logs/index.ts';
import { afterFile, type TestDatabase, testDatabase } from '../support/database.ts';
import { describeOlder, olderServer } from '../support/older-server.ts';

// the usual one of Debian, with the application: it is found without being said
const settings = { log_destination: 'csvlog,stderr', log_line_prefix: '%m [%p] %q%u@%d/%a ' };

/** What both formats say of a database once a marker has come by; they have to say the same. */
async function statementsOf(
  server: EmbeddedPostgres,
  database: TestDatabase,
  client: Client,
  options: ReadLogOptions = {},
): Promise<ExecutedStatement[]> {
  await client.query("select 'the end'");
  const read = async (ending: string) => {
    for (const deadline = performance.now() + 20_000; performance.now() < deadline; await sleep(50)) {
      const found: ExecutedStatement[] = [];
      for await (const batch of readLog(join(server.dataDirectory, 'log', `*.${ending}`), options))
        found.push(...batch);
      const mine = found.filter((statement) => statement.database === database.name);
      const end = mine.findIndex(({ sql }) => sql.includes('the end'));
      if (end >= 0) return mine.slice(0, end);
    }
    throw new Error('the log never told of the end');
  };
  const [csv, stderr] = [await read('csv'), await read('log')];
  const comparable = (list: ExecutedStatement[]) => list.map(({ session, ...rest }) => rest);
  expect(comparable(stderr)).toEqual(comparable(csv));
  return csv;
}
const texts = (statements: readonly ExecutedStatement[]) =>
  statements.map(({ sql }) => sql).filter((sql) => sql.includes('from t'));

function settingsTests(of: () => EmbeddedPostgres) {
  async function prepared(...how: string[]): Promise<{ database: TestDatabase; client: Client }> {
    const database = await testDatabase(of());
    await database.pool.query(`
      create table t (id int primary key, code text);
      insert into t select g, 'code ' || g from generate_series(1, 100) g;
      create function nested() returns int language plpgsql as
        'declare n int; begin select id into n from t where id = 3; raise exception ''no''; end'`);
    return {
      database,
      client: await database.client({
        application_name: 'web',
        options: how.map((one) => `-c ${one}`).join(' '),
      }),
    };
  }

  test('cancelled, timed out and terminated statements, and the plans of auto_explain in between', async () => {
    const { database, client } = await prepared('log_statement=all');
    await client.query("load 'auto_explain'");
    await client.query('set auto_explain.log_min_duration = 0; set auto_explain.log_nested_statements = on');
    await client.query('select 1 from t where id = 1');
    await client.query('select nested() from t where id = 2').catch(() => {});
    await client.query({ text: 'select nested(), $1::int from t where id = 2', values: [5] }).catch(() => {});
    await client.query('set statement_timeout = 50');
    await client.query('select pg_sleep(9) from t where id = 4').catch(() => {});
    await client.query('set statement_timeout = 0');
    const other = await database.client({ options: '-c log_statement=all' });
    const ended = other.query('select pg_sleep(9) from t where id = 5').catch(() => {});
    const kill = `select pg_terminate_backend(pid) from pg_stat_activity where query like '%from t where id = 5%' and pid <> pg_backend_pid()`;
    while ((await database.pool.query(kill)).rowCount === 0) await sleep(20);
    await ended;
    await client.query({ text: 'select 1 from t where id = $1', values: [6] });
    expect(texts(await statementsOf(of(), database, client))).toEqual([
      'select 1 from t where id = 1',
      'select 1 from t where id = $1',
    ]);
  });

  test('parameters cut by log_parameter_max_length are marked', async () => {
    const { database, client } = await prepared('log_statement=all', 'log_parameter_max_length=8');
    const values = [1, 'code 123456', "it's ok\u00f1\nand more", null];
    await client.query({ text: 'select 1 from t where id = $1 and code in ($2, $3, $4)', values });
    await client.query({ text: 'select 2 from t where code = $1', values: ['short...'] });
    const { rows } = await client.query<{ log_parameter_max_length: string }>(
      'show log_parameter_max_length',
    );
    const [one, two] = (
      await statementsOf(of(), database, client, logOptionsOf({ ...settings, ...rows[0] }))
    ).filter(({ params }) => params);
    expect(one).toMatchObject({ params: ['1', 'code 123...', "it's ok...", null], truncated: [1, 2] });
    // of just the length of the limit, so that nobody can tell
    expect(two).toMatchObject({ params: ['short...'], truncated: [0] });
  });

  test('EXECUTE of the SQL language comes with the text behind it', async () => {
    const { database, client } = await prepared('log_statement=all');
    await client.query('prepare find (int) as select 1 from t where id = $1');
    await client.query('execute find (7)');
    const found = await statementsOf(of(), database, client);
    expect(found.find(({ sql }) => sql.startsWith('execute'))).toMatchObject({
      sql: 'execute find (7)',
      prepare: 'prepare find (int) as select 1 from t where id = $1',
    });
  });

  test('sampled statements weigh what they stand for', async () => {
    const sampled = {
      log_min_duration_statement: '200',
      log_min_duration_sample: '0',
      log_statement_sample_rate: '0.25',
      log_transaction_sample_rate: '0.2',
    };
    const { database, client } = await prepared(
      ...Object.entries(sampled).map(([name, value]) => `${name}=${value}`),
    );
    const executed = 2000;
    for (let i = 0; i < executed; i++) await client.query('select 1 from t where id = 1');
    for (let i = 0; i < 3; i++) await client.query('select pg_sleep(0.25) from t where id = 2');
    await client.query('set log_min_duration_statement = 0');
    const found = (
      await statementsOf(of(), database, client, logOptionsOf({ ...settings, ...sampled }))
    ).filter(({ sql }) => sql.includes('from t'));
    const quick = found.filter(({ sql }) => sql.includes('id = 1'));
    // P = 0.25 + 0.2 − 0.05 = 0.4; six standard deviations of the estimate
    const estimate = quick.reduce((sum, { weight }) => sum + weight, 0);
    expect(Math.abs(estimate - executed)).toBeLessThan(6 * Math.sqrt((executed * 0.6) / 0.4));
    expect(quick.length).toBeLessThan(executed / 2);
    expect(new Set(quick.map(({ weight }) => weight))).toEqual(new Set([1 / (0.25 + 0.2 - 0.25 * 0.2)]));
    // over the limit of log_min_duration_statement everything is logged
    expect(found.filter(({ sql }) => sql.includes('id = 2')).map(({ weight }) => weight)).toEqual([1, 1, 1]);
  });
}

describe('settings of a server', () => {
  let server: EmbeddedPostgres;
  beforeAll(async () => {
    server = await startEmbedded({ settings });
    afterFile(() => server.stop());
  });
  settingsTests(() => server);
});

describeOlder('settings of an older server', () => {
  let server: EmbeddedPostgres;
  beforeAll(async () => {
    server = await olderServer({ settings });
  });
  settingsTests(() => server);
});
