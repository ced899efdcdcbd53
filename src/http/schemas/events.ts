import Type, { type Static } from 'typebox';
import { closed, migrationName } from './common.ts';

/** Accesses in one request. */
export const mostAccessEvents = 10_000;

export const AccessEventsRequest = Type.Object(
  {
    migration: migrationName,
    events: Type.Array(
      Type.Object(
        {
          key: Type.Array(Type.String({ maxLength: 4096 }), {
            minItems: 1,
            maxItems: 32,
            description: 'One text for each key column, as PostgreSQL prints it.',
          }),
          op: Type.Enum(['R', 'W'], { description: 'The row was read, or inserted, changed or deleted.' }),
          at: Type.Optional(
            Type.Number({ minimum: 0, description: 'Seconds since the epoch; now if absent.' }),
          ),
          weight: Type.Optional(
            Type.Number({
              exclusiveMinimum: 0,
              maximum: 1e9,
              description: 'How many accesses it stands for, when only a sample is reported.',
            }),
          ),
        },
        closed,
      ),
      { minItems: 1, maxItems: mostAccessEvents },
    ),
  },
  closed,
);
export type AccessEventsRequest = Static<typeof AccessEventsRequest>;

export const AccessEventsAnswer = Type.Object(
  { schema: Type.Literal(1), accepted: Type.Integer({ minimum: 0 }) },
  { ...closed, $id: 'AccessEventsAnswer' },
);

/** The form that eventsAfter takes and gives: a transaction's number and the event's. */
const cursor = Type.String({ pattern: '^[0-9]{1,19}-[0-9]{1,18}$' });
export const StreamQuery = Type.Object(
  { after: Type.Optional(Type.Unsafe<string>({ ...cursor, description: 'For a first Last-Event-ID.' })) },
  closed,
);
export const StreamHeaders = Type.Object({
  'last-event-id': Type.Optional(
    Type.Unsafe<string>({ ...cursor, description: 'The stream goes on after this event.' }),
  ),
});
