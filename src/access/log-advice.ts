/** What a server's settings mean for the query log, line by line. */
export interface Advice {
  readonly status: 'ok' | 'warn';
  readonly message: string;
  /** what to run, and what it costs */
  readonly hint?: string;
}

export interface LoggingServer {
  /** by name, as they hold for sessions without settings of their own */
  readonly settings: Readonly<Record<string, string | undefined>>;
  /** what single roles have of their own */
  readonly roles: readonly { readonly role: string; readonly name: string; readonly value: string }[];
  /** 150004: 15.4 */
  readonly versionNum: number;
  readonly database: string;
}

const reload = 'select pg_reload_conf();';
const ident = (name: string) => `"${name.replaceAll('"', '""')}"`;

/** Which executions the log will show. */
type Coverage =
  | { readonly kind: 'all'; readonly by: string }
  | { readonly kind: 'some'; readonly what: string }
  | { readonly kind: 'none' };

/** Everything that the settings decide, most important first. */
export function adviseLogging(server: LoggingServer): Advice[] {
  return [
    ...where(server),
    ...what(server),
    ...roles(server),
    ...parameters(server),
    ...prefix(server),
    ...language(server),
  ];
}

function where({ settings, versionNum }: LoggingServer): Advice[] {
  const destinations = (settings.log_destination ?? 'stderr').split(',').map((name) => name.trim());
  const collector = settings.logging_collector === 'on';
  const best = versionNum >= 150000 ? 'jsonlog' : 'csvlog';
  const files = destinations.filter((name) => name === 'jsonlog' || name === 'csvlog');
  if (files.length > 0 && collector)
    return [{ status: 'ok', message: `the server writes ${files.join(' and ')}: every field can be read` }];
  const cost =
    ' Costs: a jsonlog line has about 350 bytes beside the statement, a csvlog line 200, a stderr line 60 (more with a long prefix).';
  if (files.length > 0)
    return [
      {
        status: 'warn',
        message: `log_destination = ${destinations.join(',')} without logging_collector: no file is written`,
        hint: 'alter system set logging_collector = on; (needs a restart of the server)',
      },
    ];
  if (destinations.includes('stderr'))
    return [
      {
        status: collector ? 'ok' : 'warn',
        message: collector
          ? 'the server writes a stderr log: it can be read as far as log_line_prefix tells'
          : 'the server writes to its standard error: whoever started it has the file',
        hint: collector
          ? `better: alter system set log_destination = '${best}'; ${reload}${cost}`
          : `alter system set logging_collector = on; (needs a restart) alter system set log_destination = '${best}'; ${reload}${cost}`,
      },
    ];
  return [
    {
      status: 'warn',
      message: `log_destination = ${destinations.join(',')}: there is no file that could be read; prediction rests on captured changes alone`,
      hint: `alter system set log_destination = '${best}'; alter system set logging_collector = on; (needs a restart)${cost}`,
    },
  ];
}

/** As the settings of one session say; `settings` may be a role's. */
function coverageOf(settings: LoggingServer['settings']): Coverage {
  const statement = settings.log_statement ?? 'none';
  const minimum = Number(settings.log_min_duration_statement ?? -1);
  const sampleFrom = Number(settings.log_min_duration_sample ?? -1);
  const sampleRate = Number(settings.log_statement_sample_rate ?? 1);
  const transactions = Number(settings.log_transaction_sample_rate ?? 0);
  if (statement === 'all') return { kind: 'all', by: 'log_statement = all' };
  if (minimum === 0) return { kind: 'all', by: 'log_min_duration_statement = 0' };
  if (transactions === 1) return { kind: 'all', by: 'log_transaction_sample_rate = 1' };
  if (sampleFrom === 0 && sampleRate === 1) return { kind: 'all', by: 'log_min_duration_sample = 0' };
  const some: string[] = [];
  if (statement === 'mod') some.push('every change, no read (log_statement = mod)');
  if (minimum > 0) some.push(`what takes ${minimum} ms or longer`);
  if (sampleFrom >= 0 && sampleRate > 0)
    some.push(
      `${sampleRate * 100} % of what takes ${sampleFrom} ms or longer, weighted by ${round(1 / sampleRate)}`,
    );
  if (transactions > 0)
    some.push(`${transactions * 100} % of the transactions, weighted by ${round(1 / transactions)}`);
  return some.length > 0 ? { kind: 'some', what: some.join('; ') } : { kind: 'none' };
}

const round = (value: number) => Number(value.toFixed(2));

function what({ settings, database }: LoggingServer): Advice[] {
  const found: Advice[] = [];
  const coverage = coverageOf(settings);
  const all =
    `alter database ${ident(database)} set log_statement = 'all'; (superuser; for new sessions, no restart) ` +
    'Costs: one line for each statement, written before it runs.';
  if (coverage.kind === 'all')
    found.push({ status: 'ok', message: `every statement is logged (${coverage.by})` });
  else if (coverage.kind === 'none')
    found.push({
      status: 'warn',
      message: 'no statement is logged; prediction rests on captured changes alone',
      hint: `${all} A share is enough to learn from: alter database ${ident(database)} set log_transaction_sample_rate = 0.05;`,
    });
  else
    found.push({
      status: 'warn',
      message: `only some statements are logged: ${coverage.what}`,
      hint: `${all} Slow statements alone say nothing of which rows are needed: a sample is the cheaper way.`,
    });
  const statement = settings.log_statement === 'all';
  const durations = Number(settings.log_min_duration_statement ?? -1) === 0;
  if (statement && (durations || settings.log_duration === 'on'))
    found.push({
      status: 'ok',
      message: 'each statement takes two or more lines: durations tell nothing about rows',
      hint: `log_duration = off and log_min_duration_statement = -1 would halve the log`,
    });
  else if (!statement && durations)
    found.push({
      status: 'ok',
      message:
        'log_min_duration_statement = 0 takes three lines for each execution with parameters (parse, bind, execute)',
      hint: `log_statement = 'all' takes one`,
    });
  return found;
}

function roles({ settings, roles: own }: LoggingServer): Advice[] {
  const byRole = new Map<string, Record<string, string>>();
  for (const { role, name, value } of own) byRole.set(role, { ...byRole.get(role), [name]: value });
  return [...byRole].flatMap(([role, theirs]): Advice[] => {
    const usual = coverageOf(settings);
    const coverage = coverageOf({ ...settings, ...theirs });
    const names = Object.entries(theirs).map(([name, value]) => `${name} = ${value}`);
    const tells =
      coverage.kind === 'all' ? 'every statement' : coverage.kind === 'some' ? coverage.what : 'nothing';
    if (coverage.kind === usual.kind && coverage.kind === 'all') return [];
    return [
      {
        status: coverage.kind === 'all' ? 'ok' : 'warn',
        message: `role ${role} has its own settings (${names.join(', ')}): its sessions log ${tells}`,
        ...(coverage.kind !== 'all' && {
          hint: Object.keys(theirs)
            .map((name) => `alter role ${ident(role)} reset ${name};`)
            .join(' '),
        }),
      },
    ];
  });
}

function parameters({ settings }: LoggingServer): Advice[] {
  const most = Number(settings.log_parameter_max_length ?? -1);
  if (most < 0) return [{ status: 'ok', message: 'parameters are logged whole' }];
  const hint = `alter system set log_parameter_max_length = -1; ${reload} Costs: long texts in parameters are logged whole; 64 is enough for most keys`;
  if (most === 0)
    return [
      {
        status: 'warn',
        message: 'log_parameter_max_length = 0: statements with $1 do not tell their rows',
        hint,
      },
    ];
  return most < 64
    ? [{ status: 'warn', message: `parameters are cut after ${most} bytes: longer keys are not found`, hint }]
    : [{ status: 'ok', message: `parameters are cut after ${most} bytes, which is enough for most keys` }];
}

function prefix({ settings }: LoggingServer): Advice[] {
  const destinations = settings.log_destination ?? 'stderr';
  if (/jsonlog|csvlog/.test(destinations) || !destinations.includes('stderr')) return [];
  const text = settings.log_line_prefix ?? '';
  const has = (...letters: string[]) => letters.some((letter) => new RegExp(`%-?\\d*${letter}`).test(text));
  const missing: string[] = [];
  if (!has('m', 't', 'n')) missing.push('%m (when)');
  if (!has('c', 'p')) missing.push('%p (by which session)');
  if (!has('d')) missing.push('%d (in which database: without it, all databases count)');
  if (!has('a')) missing.push('%a (by which application: without it, our own statements count)');
  if (missing.length === 0) return [{ status: 'ok', message: `log_line_prefix = '${text}' tells enough` }];
  return [
    {
      status: 'warn',
      message: `log_line_prefix = '${text}' leaves out ${missing.join(', ')}`,
      hint: `alter system set log_line_prefix = '%m [%p] %q%u@%d/%a '; ${reload} Costs: 20 to 60 bytes a line`,
    },
  ];
}

function language({ settings }: LoggingServer): Advice[] {
  const language = settings.lc_messages ?? '';
  if (/^(|C|POSIX|C\..*|en([_.-].*)?|English.*)$/i.test(language)) return [];
  return [
    {
      status: 'warn',
      message: `lc_messages = ${language}: the log is not in English, and is not read`,
      hint: `alter system set lc_messages = 'C'; ${reload}`,
    },
  ];
}
