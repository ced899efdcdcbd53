import Type, { type Static } from 'typebox';
import { strata } from '../core/states.ts';

const closed = { additionalProperties: false } as const;
const nullable = <T extends Parameters<typeof Type.Union>[0][number]>(type: T) =>
  Type.Union([type, Type.Null()]);

/** Keys in one request for scores. */
export const mostScoredKeys = 100_000;

/** The body of POST /api/v1/scores. */
export const ScoresRequest = Type.Object(
  {
    migration: Type.String({ pattern: '^[a-z0-9][a-z0-9_-]{0,39}$' }),
    keys: Type.Array(Type.Array(Type.String(), { minItems: 1, maxItems: 32 }), {
      minItems: 1,
      maxItems: mostScoredKeys,
      description:
        'One text for each key column, in the order of "key" in the migration, as PostgreSQL prints them.',
    }),
  },
  { ...closed, title: 'ScoresRequest' },
);
export type ScoresRequest = Static<typeof ScoresRequest>;

/** How soon rows will be needed, as of the newest access that is known. */
export const ScoresAnswer = Type.Object(
  {
    schema: Type.Literal(1),
    migration: Type.String(),
    model: Type.Object(
      {
        name: Type.String(),
        version: nullable(Type.String({ description: 'Null: no model yet, the tuned EWMA scores.' })),
        predictor: nullable(Type.String()),
        trained_until: nullable(Type.Number({ description: 'Seconds since the epoch.' })),
      },
      { additionalProperties: true },
    ),
    as_of: Type.Number({ description: 'Seconds since the epoch.' }),
    features_until: nullable(Type.Number({ description: 'The newest access in the features, seconds.' })),
    members_as_of: nullable(Type.Number({ description: 'When strata and membership were read, seconds.' })),
    scores: Type.Array(
      Type.Object(
        {
          key: Type.Array(Type.String()),
          score: Type.Number(),
          accesses: Type.Number({ description: 'Accesses to expect within the horizon.' }),
          changes: Type.Number({ description: 'Changes to expect within the horizon.' }),
          stratum: nullable(Type.Enum([...strata])),
          member: nullable(Type.Boolean({ description: 'In the shadow; null: not known.' })),
          known: Type.Boolean({
            description: 'False: never seen in use; the score is that of any unknown row.',
          }),
        },
        closed,
      ),
    ),
  },
  { ...closed, title: 'ScoresAnswer' },
);
export type ScoresAnswer = Static<typeof ScoresAnswer>;
