import Type, { type Static } from 'typebox';
import { migrationStatuses } from '../../core/states.ts';
import type { StatusDocument } from '../../migration/status.ts';
import { sources } from '../../migration/throttle/rules.ts';
import { closed, nullable, timestamp } from './common.ts';

const count = Type.Number({ minimum: 0 });
const number = Type.Number();
const open = Type.Record(Type.String(), Type.Unknown());
const status = Type.Enum([...migrationStatuses]);
const defects = Type.Object({ found: count, checked: count, upper_bound: number }, closed);
const keys = Type.Array(Type.String());

/** Mirrors migration/status.ts: the same document from the command line and over HTTP. */
export const Status = Type.Object(
  {
    schema: Type.Literal(1),
    name: Type.String(),
    status,
    status_before: nullable(status),
    phase: Type.Enum(['none', 'copy', 'index', 'verify', 'ready']),
    read_from: Type.Enum(['source', 'overlay', 'target']),
    write_to: Type.Enum(['source', 'target']),
    shadow_table_status: Type.Object(
      {
        completeness: nullable(number),
        accuracy: nullable(number),
        fraction: Type.Number({ description: 'Share of the rows that it is to hold.' }),
        rows: count,
        wanted: count,
        strata: Type.Record(Type.String(), count),
      },
      closed,
    ),
    migration_confidence_level: nullable(number),
    confidence: nullable(
      Type.Object(
        {
          level: number,
          lower: number,
          upper: number,
          threshold: number,
          similarity_score: number,
          change_rate_factor: number,
          effective_sample_size: number,
          fields: Type.Array(
            Type.Object(
              {
                name: Type.String(),
                kind: Type.Enum(['number', 'time', 'boolean', 'enum', 'category', 'text']),
                similarity: number,
                lower: number,
                noise: number,
                weight: number,
                checked: Type.Enum(['raw', 'back', 'invariant', 'unchecked']),
              },
              closed,
            ),
          ),
          defects: Type.Object({ sync: defects, map: defects }, closed),
          notes: Type.Array(Type.String()),
        },
        closed,
      ),
    ),
    coverage: nullable(
      Type.Object(
        {
          window_s: number,
          reads: count,
          hit_share: number,
          random: number,
          lfu: number,
          lru: number,
          ewma: number,
          oracle: number,
        },
        closed,
      ),
    ),
    query_log: nullable(
      Type.Object(
        {
          executions: count,
          resolved: count,
          unresolved: count,
          unresolved_shapes: Type.Array(
            Type.Object({ shape: Type.String(), count, share: number, reason: Type.String() }, closed),
          ),
        },
        {
          ...closed,
          description:
            'Statements in the log that touch the source: whose rows are known, and whose are not.',
        },
      ),
    ),
    gate: Type.Object({ open: Type.Boolean(), reasons: Type.Array(Type.String()) }, closed),
    rows: Type.Object({ total: count, migrated: count }, closed),
    rate: nullable(Type.Number({ description: 'Rows a second.' })),
    eta_s: nullable(Type.Number({ description: 'Seconds until all is copied.' })),
    eta_total_s: nullable(
      Type.Number({ description: 'Seconds until writes may be cut over: copy, indexes and verification.' }),
    ),
    throttle: nullable(
      Type.Object(
        {
          share: Type.Number({ description: 'Of their time that lanes may copy.' }),
          chunk_ms: number,
          rows_per_second: nullable(number),
          source: nullable(Type.Enum([...sources])),
          reason: nullable(Type.String()),
          latency_ms: nullable(number),
          baseline_ms: nullable(number),
          commit_ms: nullable(number),
          commit_baseline_ms: nullable(number),
          wal_bytes_per_s: nullable(number),
          active_sessions: nullable(count),
          replica_lag_s: nullable(number),
          unread: Type.Array(Type.String({ description: 'What our role may not read.' })),
          knobs: open,
        },
        { ...closed, description: 'What holds the copy back; null before anything was copied.' },
      ),
    ),
    lag: nullable(Type.Object({ ms_p50: number, ms_p99: number, backlog: count }, closed)),
    wait_reason: nullable(Type.String({ description: 'What is waited for, in a sentence.' })),
    warnings: Type.Array(
      Type.Object(
        { kind: Type.Enum(['key-log-size', 'pinned-snapshot']), message: Type.String() },
        {
          ...closed,
          description: 'What slows readers down or fills the disk if nobody looks.',
        },
      ),
    ),
    locks: Type.Array(
      Type.Object(
        {
          kind: Type.Enum([
            'capture',
            'cutover-writers',
            'cutover-readers',
            'abort',
            'rollback-writers',
            'rollback-readers',
            'finalize',
          ]),
          wait_ms: number,
          hold_ms: number,
          attempts: count,
          tables: Type.Optional(Type.Array(Type.String(), { description: 'Held together.' })),
          at: timestamp,
        },
        closed,
      ),
    ),
    model: nullable(open),
    verification: nullable(
      Type.Object(
        {
          missing: count,
          extra: count,
          different: count,
          compared: count,
          keys: Type.Object({ missing: keys, extra: keys, different: keys }, closed),
          repairs: count,
        },
        closed,
      ),
    ),
    way_back: Type.Object(
      { open: Type.Boolean(), reasons: Type.Array(Type.String()), behind: nullable(count) },
      { ...closed, description: 'Whether the write cutover can be taken back, before it and after it.' },
    ),
    error: nullable(
      Type.Object({ code: Type.String(), message: Type.String(), hint: Type.String() }, closed),
    ),
    epoch: count,
    updated_at: timestamp,
  },
  {
    ...closed,
    $id: 'Status',
    description: 'Where a migration stands. Unknown figures are null, never made up.',
  },
);

/** No field is missing here, and none is here only. */
type Same<A, B> = [A, B] extends [B, A] ? true : never;
export const statusFieldsMatch: Same<keyof StatusDocument, keyof Static<typeof Status>> = true;
