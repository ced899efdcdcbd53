import Type from 'typebox';
import { jobKinds } from '../../jobs/kinds.ts';
import { closed, limitOf, migrationName, nextCursor, nullable, ref, timestamp } from './common.ts';

export const jobStates = ['created', 'retry', 'active', 'completed', 'cancelled', 'failed'] as const;
const jobId = Type.String({
  pattern: '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$',
});

export const Job = Type.Object(
  {
    id: jobId,
    kind: Type.Enum([...jobKinds]),
    migration: migrationName,
    state: Type.Enum([...jobStates]),
    created_at: timestamp,
    started_at: nullable(timestamp),
    completed_at: nullable(timestamp),
    retry_count: Type.Integer({ minimum: 0 }),
    output: Type.Unknown({ description: 'What it did, or why it failed.' }),
  },
  {
    ...closed,
    $id: 'Job',
    description: 'One bounded piece of work. The truth about a migration is its status.',
  },
);

export const JobList = Type.Object(
  { schema: Type.Literal(1), jobs: Type.Array(ref('Job')), next_cursor: nextCursor },
  { ...closed, $id: 'JobList', description: 'Newest first.' },
);

export const JobListQuery = Type.Object(
  {
    limit: limitOf(200),
    cursor: Type.Optional(jobId),
    migration: Type.Optional(migrationName),
    kind: Type.Optional(Type.Enum([...jobKinds])),
    state: Type.Optional(Type.Enum([...jobStates])),
  },
  closed,
);

export const JobParams = Type.Object({ id: jobId });
export const JobRequest = Type.Object({ kind: Type.Enum([...jobKinds]), migration: migrationName }, closed);
