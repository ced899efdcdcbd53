import { readFile } from 'node:fs/promises';
import Type, { type Static } from 'typebox';
import Value from 'typebox/value';
import { holidayProblem } from '../calendar/index.ts';
import { ForeshadowError } from '../core/errors.ts';
import { throttleLimits } from './throttle-settings.ts';

export { seconds } from './duration.ts';

const closed = { additionalProperties: false } as const;
const share = (value: number, description: string) =>
  Type.Number({ minimum: 0, maximum: 1, default: value, description });
const sqlByColumn = (description: string) =>
  Type.Record(Type.String(), Type.String({ minLength: 1 }), { default: {}, description });
const duration = (value: string, description: string) =>
  Type.String({ pattern: '^[0-9]+(\\.[0-9]+)?(ms|s|m|h|d)$', default: value, description });

/** One migration, as a file and as the body of POST /api/v1/migrations. Published as docs/migration.schema.json. */
export const MigrationFile = Type.Object(
  {
    $schema: Type.Optional(Type.String()),
    name: Type.String({ pattern: '^[a-z0-9][a-z0-9_-]{0,39}$', description: 'Name of the migration.' }),
    source: Type.String({ minLength: 1, description: 'The table in use today, as schema.table.' }),
    target: Type.String({ minLength: 1, description: 'The empty table in the new format, as schema.table.' }),
    key: Type.Array(Type.String(), { minItems: 1, description: 'Key columns of the source.' }),
    map: sqlByColumn('Target column → immutable SQL expression over one source row.'),
    back: sqlByColumn('Source column → SQL expression over one target row: the back map.'),
    invariants: Type.Array(Type.Object({ name: Type.String(), sql: Type.String({ minLength: 1 }) }, closed), {
      default: [],
      description: 'SQL booleans over a source row s and its target row t.',
    }),
    shadow: Type.Object(
      {
        fraction: Type.Number({
          minimum: 0.001,
          maximum: 0.5,
          default: 0.1,
          description: 'Share of the rows in the shadow.',
        }),
        seed: Type.Integer({ default: 1, description: 'Seed of the permanent random numbers.' }),
        weights: Type.Object(
          {
            predictive: share(0.7, 'Share of the budget for the rows with the highest predicted use.'),
            frequency: share(0.1, 'Share for long-run frequency.'),
            change: share(0.1, 'Share for change rate.'),
            random: share(0.1, 'Share for the uniform remainder; the estimators live on it.'),
          },
          { ...closed, default: {} },
        ),
      },
      { ...closed, default: {} },
    ),
    predict: Type.Object(
      {
        horizon: duration('15m', 'How far ahead to predict.'),
        group: Type.Optional(
          Type.String({ description: 'Column that groups rows: tenant, parent, customer.' }),
        ),
        calendar: Type.Optional(
          Type.String({ description: 'CSV start,end,group,kind,weight of known events.' }),
        ),
        holidays: Type.Optional(
          Type.Object(
            {
              country: Type.String({ pattern: '^[A-Z]{2}$', description: 'ISO 3166-1, such as DE.' }),
              region: Type.Optional(
                Type.String({
                  minLength: 1,
                  description: 'ISO 3166-2 without the country, such as BY; a region of it after a dot.',
                }),
              ),
              timeZone: Type.String({ minLength: 1, description: 'IANA name, such as Europe/Berlin.' }),
            },
            { ...closed, description: 'Whose public holidays are known events, for every row.' },
          ),
        ),
        changeWeight: Type.Number({
          minimum: 0,
          default: 1,
          description: 'What a change counts beside a read.',
        }),
        every: duration('30s', 'How often to choose again.'),
      },
      { ...closed, default: {} },
    ),
    confidence: Type.Object(
      {
        threshold: share(0.95, 'The lower bound of the level must reach this.'),
        fieldThreshold: share(0.85, 'The lower bound of each field must reach this.'),
        window: duration('60s', 'Window of the change-rate factor.'),
        consecutive: Type.Integer({
          minimum: 1,
          default: 3,
          description: 'Evaluations in a row that must hold.',
        }),
        every: duration('2s', 'How often to evaluate.'),
        weights: Type.Object(
          {
            similarity: share(0.7, 'Weight of the similarity score.'),
            changeRate: share(0.3, 'Weight of the change-rate factor.'),
          },
          { ...closed, default: {} },
        ),
        fields: Type.Record(Type.String(), Type.Number({ minimum: 0 }), {
          default: {},
          description: 'Source column → weight; all comparable columns with weight 1 when empty.',
        }),
      },
      { ...closed, default: {} },
    ),
    signals: Type.Object(
      {
        createdAt: Type.Optional(Type.String()),
        updatedAt: Type.Optional(Type.String()),
        commitTimestamps: Type.Optional(
          Type.Boolean({
            description:
              'Without such columns: when each row was committed (track_commit_timestamp), by one pass over the table.',
          }),
        ),
      },
      { ...closed, default: {}, description: 'Source columns with change times.' },
    ),
    queryLog: Type.Optional(
      Type.Object(
        {
          path: Type.String({
            minLength: 1,
            description: "The server's log files, as seen from here; * and ? may stand in the last part.",
          }),
          format: Type.Optional(
            Type.Union([Type.Literal('csvlog'), Type.Literal('jsonlog'), Type.Literal('stderr')], {
              description: 'As in log_destination; found by looking when absent.',
            }),
          ),
          hashKeys: Type.Optional(
            Type.Boolean({
              description: 'Keep keys in the access store only as keyed hashes (FORESHADOW_KEY_SECRET).',
            }),
          ),
          lookup: Type.Optional(
            Type.Array(Type.String(), {
              description:
                'Indexed columns of the source by which rows are looked up where a statement does not name the key.',
            }),
          ),
          linePrefix: Type.Optional(
            Type.String({
              minLength: 1,
              description: 'For stderr: what SHOW log_line_prefix prints; usual ones are tried when absent.',
            }),
          ),
        },
        { ...closed, description: 'Where the server writes which statements it has executed.' },
      ),
    ),
    copy: Type.Object(
      {
        lanes: Type.Integer({
          minimum: 1,
          maximum: 16,
          default: 2,
          description: 'Workers, each with its key ranges.',
        }),
        chunkRows: Type.Integer({
          minimum: 1,
          maximum: 50000,
          default: 5000,
          description: 'Rows a chunk copies, at most: fewer where that many take longer than chunkTime.',
        }),
        chunkTime: duration('50ms', 'How long a chunk should take: its rows are fitted to it.'),
        rowsPerSecond: Type.Optional(
          Type.Integer({ minimum: 1, description: 'Upper limit of the copy; none when absent.' }),
        ),
      },
      { ...closed, default: {} },
    ),
    throttle: Type.Object(
      {
        ...throttleLimits,
        probe: Type.Optional(
          Type.String({
            minLength: 1,
            description:
              "A cheap statement like the application's own, timed twice a second; a lookup of the source by key when absent.",
          }),
        ),
      },
      {
        ...closed,
        default: {},
        description:
          'What the copy gives way to. Each limit may be turned while it runs; "none" lets go of it.',
      },
    ),
    cutover: Type.Object(
      {
        reads: Type.Union([Type.Literal('when-confident'), Type.Literal('operator')], {
          default: 'when-confident',
        }),
        writes: Type.Union([Type.Literal('auto'), Type.Literal('operator')], { default: 'operator' }),
        finish: Type.Union([Type.Literal('swap'), Type.Literal('route')], { default: 'swap' }),
        budget: duration('250ms', 'How long one attempt at the write cutover may hold writers back.'),
        isolation: Type.Union([Type.Literal('any'), Type.Literal('read-committed')], {
          default: 'any',
          description:
            'Isolation levels of transactions that use the table. Declaring read-committed lets the write cutover get ' +
            'through against SELECT … FOR UPDATE and against transactions that read the table and then write it.',
        }),
      },
      { ...closed, default: {} },
    ),
  },
  { ...closed, $id: 'https://foreshadow.dev/migration.schema.json', title: 'Foreshadow migration' },
);

export type MigrationFile = Static<typeof MigrationFile>;

/**
 * Fills defaults and checks a migration document.
 * @throws ForeshadowError BAD_MIGRATION_FILE, naming the field
 */
export function parseMigrationFile(document: unknown): MigrationFile {
  const filled = Value.Default(MigrationFile, Value.Clone(document));
  if (!Value.Check(MigrationFile, filled)) {
    const errors = [...Value.Errors(MigrationFile, filled)];
    // An unknown field is told twice, and the first time only as "schema is false".
    const first = errors.find((error) => error.keyword === 'additionalProperties') ?? errors[0];
    const where = first?.instancePath ? `"${first.instancePath.slice(1).replaceAll('/', '.')}" ` : '';
    const extra = (first?.params as { additionalProperties?: string[] } | undefined)?.additionalProperties;
    const what = extra ? `has unknown fields: ${extra.join(', ')}` : (first?.message ?? 'is not a migration');
    throw new ForeshadowError('BAD_MIGRATION_FILE', `migration file: ${where}${what}`);
  }
  const problem = filled.predict.holidays && holidayProblem(filled.predict.holidays);
  if (problem) {
    const where = `"predict.holidays.${problem.field}"`;
    throw new ForeshadowError('BAD_MIGRATION_FILE', `migration file: ${where} ${problem.message}`);
  }
  for (const [path, weights] of [
    ['shadow.weights', filled.shadow.weights],
    ['confidence.weights', filled.confidence.weights],
  ] as const) {
    const sum = Object.values(weights).reduce((a, b) => a + b, 0);
    if (Math.abs(sum - 1) > 1e-6) {
      throw new ForeshadowError('BAD_MIGRATION_FILE', `migration file: "${path}" must sum to 1, not ${sum}`);
    }
  }
  return filled;
}

/** @throws ForeshadowError BAD_MIGRATION_FILE when the file cannot be read or is not JSON */
export async function readMigrationFile(path: string): Promise<MigrationFile> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    throw new ForeshadowError('BAD_MIGRATION_FILE', `cannot read ${path}`, {}, { cause });
  }
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch (cause) {
    throw new ForeshadowError(
      'BAD_MIGRATION_FILE',
      `${path} is not JSON: ${(cause as Error).message}`,
      {},
      { cause },
    );
  }
  return parseMigrationFile(document);
}
