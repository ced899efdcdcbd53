import Type from 'typebox';
import { StoredManifest } from '../../model/manifest.ts';
import { closed, nullable } from './common.ts';

const name = Type.String({ pattern: '^[a-z0-9][a-z0-9_-]{0,63}$' });
const version = Type.String({ pattern: '^[0-9]{4,9}$' });

export const ModelParams = Type.Object({ name });
export const VersionParams = Type.Object({
  name,
  version: Type.String({ pattern: '^([0-9]{4,9}|stable|canary)$', description: 'A version, or a label.' }),
});

export const ModelList = Type.Object(
  {
    schema: Type.Literal(1),
    models: Type.Array(
      Type.Object({ name, versions: Type.Integer({ minimum: 0 }), latest: nullable(version) }, closed),
    ),
  },
  { ...closed, $id: 'ModelList' },
);

export const Model = Type.Object(
  {
    schema: Type.Literal(1),
    name,
    latest: version,
    labels: Type.Object({ stable: nullable(version), canary: nullable(version) }, closed),
    versions: Type.Array(version, { description: 'Oldest first.' }),
  },
  { ...closed, $id: 'Model' },
);

export const ModelVersion = Type.Object(
  { schema: Type.Literal(1), name, version, manifest: StoredManifest },
  {
    ...closed,
    $id: 'ModelVersion',
    description: 'All that is known about a trained model, beside its weights.',
  },
);
