import Type, { type TSchema } from 'typebox';
import { problemType } from '../problems.ts';

export const closed = { additionalProperties: false } as const;

export const nullable = <T extends TSchema>(type: T) => Type.Union([type, Type.Null()]);

/** A shared schema of this server, by its $id. */
export const ref = (id: string) => Type.Unsafe<unknown>({ $ref: `${id}#` });

export const timestamp = Type.String({ format: 'date-time' });
export const migrationName = Type.String({
  pattern: '^[a-z0-9][a-z0-9_-]{0,39}$',
  description: 'Name of the migration.',
});
export const MigrationParams = Type.Object({ name: migrationName });

/** How many, and from where on. */
export const limitOf = (most: number) =>
  Type.Integer({ minimum: 1, maximum: most, default: Math.min(50, most), description: 'Items a page.' });
export const nextCursor = nullable(
  Type.String({ description: 'Ask for the next page with this; null on the last one.' }),
);

/** An answer in JSON, with a description. */
export const answer = (id: string, description: string, headers?: Record<string, TSchema>) => ({
  description,
  ...(headers ? { headers } : {}),
  content: { 'application/json': { schema: ref(id) } },
});

export const location = {
  location: Type.String({ description: 'Where to read how it goes on.' }),
  'idempotency-replayed': Type.String({
    description: '"true" when this is the answer to an earlier request.',
  }),
};

/** Every other answer of every route. */
export const problems = {
  default: { description: 'What went wrong.', content: { [problemType]: { schema: ref('Problem') } } },
};

export const Problem = Type.Object(
  {
    type: Type.String({ description: 'One URI for each code.' }),
    title: Type.String(),
    status: Type.Integer(),
    detail: Type.String(),
    instance: Type.String({ description: "The request's path." }),
    code: Type.String(),
    hint: Type.String({ description: 'What to do about it.' }),
    errors: Type.Optional(
      Type.Array(
        Type.Object(
          {
            in: Type.Enum(['body', 'query', 'path', 'header']),
            pointer: Type.String({ description: 'A JSON pointer into that part of the request.' }),
            message: Type.String(),
          },
          closed,
        ),
      ),
    ),
    request_id: Type.String(),
  },
  { ...closed, $id: 'Problem', description: 'RFC 9457.' },
);
