import Type from 'typebox';
import { publishedSchema } from '../../config/published-schema.ts';
import { KnobChange } from '../../config/throttle-settings.ts';
import { migrationStatuses } from '../../core/states.ts';
import { fractionBounds } from '../../migration/shadow-size.store.ts';
import { closed, limitOf, migrationName, nextCursor, ref, timestamp } from './common.ts';

/** The migration file as editors know it: a field with a default need not be written. */
export const MigrationFileSchema = (() => {
  const { $schema: _, ...schema } = publishedSchema();
  return { ...schema, $id: 'MigrationFile' };
})();

export const Migration = Type.Object(
  {
    schema: Type.Literal(1),
    name: migrationName,
    created_at: timestamp,
    definition: ref('MigrationFile'),
    status: ref('Status'),
  },
  { ...closed, $id: 'Migration', description: 'What a migration is to do, and where it stands.' },
);

export const MigrationList = Type.Object(
  {
    schema: Type.Literal(1),
    migrations: Type.Array(
      Type.Object(
        {
          name: migrationName,
          status: Type.Enum([...migrationStatuses]),
          source: Type.String(),
          target: Type.String(),
          read_from: Type.Enum(['source', 'overlay', 'target']),
          write_to: Type.Enum(['source', 'target']),
          wait_reason: Type.Union([Type.String(), Type.Null()]),
          created_at: timestamp,
          updated_at: timestamp,
        },
        closed,
      ),
    ),
    next_cursor: nextCursor,
  },
  { ...closed, $id: 'MigrationList', description: 'Oldest first.' },
);

export const MigrationListQuery = Type.Object(
  {
    limit: limitOf(200),
    // an int4 of ours; longer ones cannot be
    cursor: Type.Optional(Type.String({ pattern: '^[0-9]{1,9}$' })),
  },
  closed,
);

export const FinalizeRequest = Type.Object(
  { drop_old: Type.Optional(Type.Boolean({ description: 'Drop the old table too. It is kept otherwise.' })) },
  closed,
);

const terminateBlockers = Type.Optional(
  Type.Boolean({
    description:
      'End sessions of others that were in the way of three attempts and for 5 s. Otherwise they are only named.',
  }),
);

export const CutoverRequest = Type.Object(
  {
    what: Type.Enum(['reads', 'writes'], { description: 'Which of the two goes to the target.' }),
    terminate_blockers: terminateBlockers,
  },
  closed,
);

export const RollbackRequest = Type.Object({ terminate_blockers: terminateBlockers }, closed);

export const ThrottleRequest = KnobChange;

export const ShadowRequest = Type.Object(
  {
    fraction: Type.Number({
      ...fractionBounds,
      description: 'Share of the rows that the shadow is to hold.',
    }),
  },
  closed,
);
