import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Static } from 'typebox';
import { type MigrationFile, parseMigrationFile } from '../../config/migration-file.ts';
import { getMigration, listMigrationsPage, type Migration } from '../../migration/status.store.ts';
import { describeMigration } from '../../migration/status.ts';
import { startMigration } from '../../pipeline.ts';
import { requireRole } from '../auth.ts';
import type { Backend } from '../backend.ts';
import { type Changing, changing } from '../changing.ts';
import { answer, location, MigrationParams, problems, ref } from '../schemas/common.ts';
import { MigrationListQuery } from '../schemas/migration.ts';
import { type ValidatedPart, validatorCompiler } from '../validator.ts';

const tags = ['migrations'];

/** Create, list, show. */
export function migrationRoutes(app: FastifyInstance, backend: Backend, claim: Changing): void {
  const { ctx } = backend;

  app.post<{ Body: unknown }>(
    '/api/v1/migrations',
    {
      ...changing(claim, (request) => requireRightsFor(request)),
      // The parser of migration files fills defaults and names faults as the command line does.
      validatorCompiler: (route) =>
        route.httpPart === 'body' ? (value) => ({ value }) : validatorCompiler(route as ValidatedPart),
      schema: {
        tags,
        summary: 'Plan a migration and hand it to the job runner',
        description:
          'Looks at both tables, touches neither, and answers as soon as it is planned. The same file again is the same ' +
          'migration. Files with expressions (map, back, invariants), a statement (throttle.probe) or names of files of ' +
          'the server (queryLog, predict.calendar) need the role admin.',
        ...claim.headers,
        body: ref('MigrationFile'),
        response: { 202: answer('Migration', 'Planned.', location), ...problems },
      },
    },
    async (request, reply) => {
      const migration = await startMigration(ctx, parseMigrationFile(request.body));
      reply.code(202).header('location', pathOf(migration.name));
      return describe(backend, migration);
    },
  );

  app.get<{ Querystring: Static<typeof MigrationListQuery> }>(
    '/api/v1/migrations',
    {
      schema: {
        tags,
        summary: 'All migrations, oldest first',
        querystring: MigrationListQuery,
        response: { 200: answer('MigrationList', 'A page.'), ...problems },
      },
    },
    async ({ query }) => {
      const found = await listMigrationsPage(ctx.pool, Number(query.cursor ?? 0), query.limit + 1);
      const page = found.slice(0, query.limit);
      return {
        schema: 1,
        migrations: page.map(summary),
        next_cursor: found.length > page.length ? String(page.at(-1)?.id) : null,
      };
    },
  );

  app.get<{ Params: { name: string } }>(
    '/api/v1/migrations/:name',
    {
      schema: {
        tags,
        summary: 'One migration: its definition and its status',
        params: MigrationParams,
        response: { 200: answer('Migration', 'The migration.'), ...problems },
      },
    },
    async ({ params }) => describe(backend, await getMigration(ctx.pool, params.name)),
  );

  app.get<{ Params: { name: string } }>(
    '/api/v1/migrations/:name/status',
    {
      schema: {
        tags,
        summary: 'Where a migration stands and what it waits for',
        params: MigrationParams,
        response: { 200: answer('Status', 'The status document.'), ...problems },
      },
    },
    ({ params }) => describeMigration(ctx.pool, params.name),
  );
}

export const pathOf = (name: string) => `/api/v1/migrations/${name}`;

/** The resource: what it is to do, and where it stands. */
export async function describe({ ctx }: Backend, migration: Migration): Promise<Record<string, unknown>> {
  const { name, definition, created_at } = migration;
  return { schema: 1, name, created_at, definition, status: await describeMigration(ctx.pool, name) };
}

function summary(migration: Migration): Record<string, unknown> {
  const { name, status, definition, read_from, write_to, wait_reason, created_at, updated_at } = migration;
  const { source, target } = definition;
  return { name, status, source, target, read_from, write_to, wait_reason, created_at, updated_at };
}

/** Expressions run with this server's rights in the database, and files are read with its rights on this machine. */
function requireRightsFor(request: FastifyRequest): void {
  const file = (request.body ?? {}) as Partial<MigrationFile>;
  const some = (value: unknown) =>
    typeof value === 'object' && value !== null && Object.keys(value).length > 0;
  for (const field of ['map', 'back', 'invariants'] as const)
    if (some(file[field])) requireRole(request, 'admin', `a migration with expressions in "${field}"`);
  if (file.throttle?.probe !== undefined)
    requireRole(request, 'admin', 'a migration with a statement in "throttle.probe"');
  if (file.queryLog !== undefined) requireRole(request, 'admin', 'a migration with "queryLog"');
  if (file.predict?.calendar !== undefined)
    requireRole(request, 'admin', 'a migration with "predict.calendar"');
}
