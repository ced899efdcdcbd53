import type { FastifyInstance } from 'fastify';
import { listModels, listVersions, readLabels } from '../../model/index.ts';
import type { Backend } from '../backend.ts';
import { describeVersion } from '../models.store.ts';
import { HttpProblem } from '../problems.ts';
import { answer, problems } from '../schemas/common.ts';
import { ModelParams, VersionParams } from '../schemas/models.ts';

const tags = ['models'];

/** The registry, as it lies on disk. */
export function modelRoutes(app: FastifyInstance, { ctx }: Backend): void {
  const root = ctx.config.modelsDir;

  app.get(
    '/api/v1/models',
    {
      schema: {
        tags,
        summary: 'All models: one for each migration that has trained one',
        response: { 200: answer('ModelList', 'The models.'), ...problems },
      },
    },
    async () => {
      const models = (await listModels(root)).map(async (name) => {
        const versions = await listVersions(root, name);
        return { name, versions: versions.length, latest: versions.at(-1) ?? null };
      });
      return { schema: 1, models: await Promise.all(models) };
    },
  );

  app.get<{ Params: { name: string } }>(
    '/api/v1/models/:name',
    {
      schema: {
        tags,
        summary: 'The versions of a model',
        params: ModelParams,
        response: { 200: answer('Model', 'The model.'), ...problems },
      },
    },
    async ({ params: { name } }) => {
      const versions = await listVersions(root, name);
      if (!versions.length) throw new HttpProblem('MODEL_UNKNOWN', `there is no model called ${name}`);
      const { stable = null, canary = null } = await readLabels(root, name);
      return { schema: 1, name, latest: versions.at(-1), labels: { stable, canary }, versions };
    },
  );

  app.get<{ Params: { name: string; version: string } }>(
    '/api/v1/models/:name/versions/:version',
    {
      schema: {
        tags,
        summary: 'The manifest of one version, or of the one that carries a label',
        params: VersionParams,
        response: { 200: answer('ModelVersion', 'The manifest.'), ...problems },
      },
    },
    async ({ params: { name, version } }) => {
      const found = await describeVersion(root, name, version);
      if (!found)
        throw new HttpProblem('MODEL_UNKNOWN', `there is no version ${version} of a model called ${name}`);
      return { schema: 1, name, ...found };
    },
  );
}
