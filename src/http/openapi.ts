import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import type { FastifyInstance } from 'fastify';
import Type from 'typebox';
import { ScoresAnswer } from '../jobs/scores-schema.ts';
import type { Backend } from './backend.ts';
import * as common from './schemas/common.ts';
import { AccessEventsAnswer } from './schemas/events.ts';
import { Health } from './schemas/health.ts';
import { Job, JobList } from './schemas/jobs.ts';
import { Migration, MigrationFileSchema, MigrationList } from './schemas/migration.ts';
import { Model, ModelList, ModelVersion } from './schemas/models.ts';
import { Statements } from './schemas/statements.ts';
import { Status } from './schemas/status.ts';

const shared = [
  common.Problem,
  MigrationFileSchema,
  Status,
  Migration,
  MigrationList,
  Statements,
  { ...ScoresAnswer, $id: 'ScoresAnswer' },
  AccessEventsAnswer,
  Job,
  JobList,
  ModelList,
  Model,
  ModelVersion,
  Health,
];

const tags = [
  { name: 'migrations', description: 'Start, watch and steer migrations.' },
  { name: 'scores', description: 'Which rows will be needed, and what the application used.' },
  { name: 'models', description: 'What the registry holds.' },
  { name: 'jobs', description: 'The work behind it.' },
  { name: 'service', description: 'This server itself.' },
];

/** The document is made of the routes, so this comes before them. */
export async function installOpenapi(app: FastifyInstance, { settings }: Backend): Promise<void> {
  for (const schema of shared) app.addSchema(JSON.parse(JSON.stringify(schema)));
  await app.register(swagger, {
    convertConstToEnum: false,
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Foreshadow',
        version: '1',
        description:
          'Moves a live PostgreSQL table into a new format, knowing in advance which rows are needed next.',
        license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      },
      tags,
      components: {
        securitySchemes: {
          token: { type: 'http', scheme: 'bearer', description: 'Roles: read, operate, admin.' },
        },
      },
      security: settings.tokens.length ? [{ token: [] }] : [],
    },
    refResolver: {
      buildLocalReference: (json, _base, _fragment, i) => (json.$id as string | undefined) ?? `def-${i}`,
    },
  });
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    uiConfig: { docExpansion: 'list', url: '/openapi.json' },
    staticCSP: true,
    // no other server is asked for anything, and over plain HTTP nothing can be upgraded
    transformStaticCSP: (header) =>
      header
        .replace(/ ?upgrade-insecure-requests;?/, '')
        .replaceAll(' https:', '')
        .replace(' validator.swagger.io', ''),
  });
}

/** The document itself. */
export function openapiRoute(app: FastifyInstance): void {
  app.get(
    '/openapi.json',
    {
      config: { role: 'public' },
      schema: {
        tags: ['service'],
        summary: 'This document, OpenAPI 3.1',
        security: [],
        response: {
          200: {
            description: 'An OpenAPI document.',
            content: {
              'application/json': {
                schema: Type.Object({ openapi: Type.String() }, { additionalProperties: true }),
              },
            },
          },
          ...common.problems,
        },
      },
    },
    () => app.swagger(),
  );
}
