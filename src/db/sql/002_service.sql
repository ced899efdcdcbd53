-- What several processes need to share the work on one migration: the accesses that were mined, who is at what, and
-- what an operator asked for.

alter table foreshadow.migration_status
  add managed boolean not null default false,       -- the job runner drives it, not only a `run` in the foreground
  add orders jsonb not null default '{}',           -- what an operator asked for and nobody has done yet: order → who, when
  add evaluated_at timestamptz,
  add train_tried_at timestamptz,
  add verification_progress jsonb,                  -- where a comparison in several steps goes on
  add settled_at timestamptz;                       -- when nothing was left to do after the write cutover

-- Readers of the stream of events must not miss one that commits late: a row counts once no older transaction runs.
alter table foreshadow.migration_event add xid xid8 not null default pg_current_xact_id();
create index on foreshadow.migration_event (migration_id, xid, id);

-- What was mined from the query log or reported by the application, once for all processes. The row's lock puts the
-- batches in order of commit, so that a follower that has seen batch n has seen all before it.
create table foreshadow.access_store (
  migration_id integer primary key references foreshadow.migration_status on delete cascade,
  next_seq bigint not null default 1,
  log_position jsonb not null default '{}',         -- up to where the log's accesses are in batches
  log_version bigint not null default 0,            -- moves with log_position: of two miners at once, one loses
  caught_up_at timestamptz,                         -- when the end of the log was last reached; null: not yet
  behind_bytes bigint,
  statistics jsonb                                  -- executions, resolved, unresolved shapes with their counts
);

create table foreshadow.access_batch (
  migration_id integer not null references foreshadow.migration_status on delete cascade,
  seq bigint not null,
  source text not null check (source in ('log', 'signals', 'reported')),
  first_at double precision not null,               -- seconds since the epoch
  last_at double precision not null,
  accesses integer not null,
  body bytea not null,                              -- access/batch.ts
  stored_at timestamptz not null default clock_timestamp(),
  primary key (migration_id, seq)
);

-- Who is at work on what. A lease holds while its session lives and its time has not run out.
create table foreshadow.lease (
  migration_id integer not null references foreshadow.migration_status on delete cascade,
  kind text not null,
  holder text not null,
  pid integer not null,
  backend_start timestamptz not null,
  until timestamptz not null,
  primary key (migration_id, kind)
) with (fillfactor = 50);

create table foreshadow.audit (
  id bigint generated always as identity primary key,
  at timestamptz not null default clock_timestamp(),
  actor text not null,                              -- the token's name; 'local' without tokens
  role text not null,
  action text not null,                             -- method and route
  migration text,
  status integer not null,                          -- of the answer
  request_id text not null,
  remote text
);

-- Answers to repeat when a request comes again with the same Idempotency-Key.
create table foreshadow.idempotency (
  actor text not null,
  key text not null,
  fingerprint text not null,                        -- of method, path and body
  status integer,                                   -- null while the first request is at work
  headers jsonb,
  body text,
  at timestamptz not null default clock_timestamp(),
  primary key (actor, key)
);
create index on foreshadow.idempotency (at);
