import { expect, test } from 'vitest';
import { adviseLogging, type LoggingServer } from '../../src/access/log-advice.ts';

/** A server that logs everything in the best form. */
const best = {
  log_destination: 'jsonlog',
  logging_collector: 'on',
  log_statement: 'all',
  log_duration: 'off',
  log_min_duration_statement: '-1',
  log_min_duration_sample: '-1',
  log_statement_sample_rate: '1',
  log_transaction_sample_rate: '0',
  log_parameter_max_length: '-1',
  log_line_prefix: '%m [%p] ',
  lc_messages: 'C',
};
const advise = (settings: Record<string, string> = {}, more: Partial<LoggingServer> = {}) =>
  adviseLogging({
    settings: { ...best, ...settings },
    roles: [],
    versionNum: 180000,
    database: 'app',
    ...more,
  });
const warnings = (settings: Record<string, string>, more: Partial<LoggingServer> = {}) =>
  advise(settings, more)
    .filter(({ status }) => status === 'warn')
    .map(({ message, hint }) => `${message} — ${hint}`);

test('a server that logs everything needs no advice', () => {
  expect(warnings({})).toEqual([]);
  expect(advise().map(({ message }) => message)).toEqual([
    'the server writes jsonlog: every field can be read',
    'every statement is logged (log_statement = all)',
    'parameters are logged whole',
  ]);
});

test.each<[Record<string, string>, RegExp]>([
  [{ log_statement: 'none' }, /no statement is logged.*alter database "app" set log_statement = 'all'/],
  [{ log_statement: 'mod' }, /every change, no read/],
  [
    { log_statement: 'none', log_min_duration_statement: '250' },
    /what takes 250 ms or longer.*a sample is the cheaper way/,
  ],
  [
    { log_statement: 'none', log_min_duration_sample: '0', log_statement_sample_rate: '0.05' },
    /5 % of what takes 0 ms or longer, weighted by 20/,
  ],
  [{ log_statement: 'ddl', log_transaction_sample_rate: '0.1' }, /10 % of the transactions, weighted by 10/],
  [
    { logging_collector: 'off' },
    /no file is written — alter system set logging_collector = on; \(needs a restart/,
  ],
  [{ log_destination: 'syslog' }, /no file that could be read/],
  [
    { log_destination: 'stderr', logging_collector: 'off', log_line_prefix: '%m [%p] %q%u@%d/%a ' },
    /whoever started it has the file/,
  ],
  [{ log_destination: 'stderr' }, /leaves out %d .*, %a /],
  [{ log_destination: 'stderr', log_line_prefix: '%d %a ' }, /%m \(when\), %p \(by which session\)/],
  [{ log_parameter_max_length: '0' }, /statements with \$1 do not tell.*select pg_reload_conf/],
  [{ log_parameter_max_length: '16' }, /cut after 16 bytes/],
  [{ lc_messages: 'de_DE.UTF-8' }, /not in English/],
])('%o', (settings, expected) => {
  const found = warnings(settings);
  expect(found).toHaveLength(1);
  expect(found[0]).toMatch(expected);
});

test('every way to log all of them counts, and what costs lines for nothing is said', () => {
  for (const settings of [
    { log_statement: 'none', log_min_duration_statement: '0' },
    { log_statement: 'none', log_transaction_sample_rate: '1' },
    { log_statement: 'none', log_min_duration_sample: '0' },
  ])
    expect(warnings(settings)).toEqual([]);
  expect(advise({ log_duration: 'on' }).map(({ message }) => message)).toContain(
    'each statement takes two or more lines: durations tell nothing about rows',
  );
  expect(
    advise({ log_statement: 'none', log_min_duration_statement: '0' }).map(({ message }) => message),
  ).toContainEqual(expect.stringContaining('three lines for each execution'));
});

test('a role that logs otherwise is named, with the way back', () => {
  const roles = [{ role: 'Shop', name: 'log_statement', value: 'none' }];
  expect(warnings({}, { roles })).toEqual([
    'role Shop has its own settings (log_statement = none): its sessions log nothing — alter role "Shop" reset log_statement;',
  ]);
  expect(
    warnings({ log_statement: 'none' }, { roles: [{ role: 'shop', name: 'log_statement', value: 'all' }] }),
  ).toHaveLength(1);
});

test('before 15 there is no jsonlog to advise', () => {
  const [found] = warnings({ log_destination: 'syslog' }, { versionNum: 140010 });
  expect(found).toContain("log_destination = 'csvlog'");
});
