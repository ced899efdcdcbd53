import type { FastifyInstance } from 'fastify';
import { statementsOf } from '../../pipeline/statements.ts';
import type { Backend } from '../backend.ts';
import { HttpProblem } from '../problems.ts';
import { answer, MigrationParams, problems } from '../schemas/common.ts';

/** The report of `doctor --statements`, for a migration that the service has. */
export function statementRoutes(app: FastifyInstance, { ctx }: Backend): void {
  let atWork = false;
  app.get<{ Params: { name: string } }>(
    '/api/v1/migrations/:name/statements',
    {
      // it reads the whole query log, and copies rows into temporary tables to plan on
      config: { role: 'operate' },
      schema: {
        tags: ['migrations'],
        summary:
          "The application's own statements: which would be slow, fail or break, and which index helps",
        description:
          'Reads the query log from its beginning, which may take long; one report at a time. Until the write cutover.',
        params: MigrationParams,
        response: { 200: answer('Statements', 'The report.'), ...problems },
      },
    },
    async ({ params }) => {
      if (atWork)
        throw new HttpProblem('OVERLOADED', 'another report is being made', {
          headers: { 'retry-after': '10' },
        });
      atWork = true;
      try {
        return { schema: 1, ...(await statementsOf(ctx, params.name)) };
      } finally {
        atWork = false;
      }
    },
  );
}
