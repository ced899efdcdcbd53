-- Foreshadow's own schema. Nothing outside it is created except, while a migration runs, one trigger pair on the
-- source and the overlay view under the target's name. `foreshadow uninstall` drops all of it.

create schema foreshadow;

create table foreshadow.schema_version (
  version integer primary key,
  applied_at timestamptz not null default now()
);

-- The truth about every migration. Jobs and processes are hints; whoever moves a migration does it with
-- `update … where id = $1 and status = $2`, and zero rows means that somebody else did.
create table foreshadow.migration_status (
  id integer generated always as identity primary key,
  name text not null unique,
  definition jsonb not null,
  status text not null default 'PLANNED' check (status in ('PLANNED', 'SHADOWING', 'READY', 'IN_PROGRESS',
    'COMPLETED', 'FINALIZED', 'PAUSED', 'ABORTED', 'ROLLED_BACK', 'FAILED')),
  status_before text,               -- the state that PAUSED and FAILED came from
  phase text not null default 'none' check (phase in ('none', 'copy', 'index', 'verify', 'ready')), -- within IN_PROGRESS
  read_from text not null default 'source' check (read_from in ('source', 'overlay', 'target')),
  write_to text not null default 'source' check (write_to in ('source', 'target')),
  epoch bigint not null default 1,  -- moves with every change of route
  source_oid oid not null,
  target_oid oid not null,
  overlay_oid oid,
  plan jsonb,                       -- the resolved row map (core/plan.ts)
  physical jsonb,                   -- what abort needs to put everything back
  shadow_table_status jsonb not null default '{}',
  migration_confidence_level double precision,
  confidence_lower_bound double precision,
  similarity_score double precision,
  change_rate_factor double precision,
  confidence jsonb,
  coverage jsonb,
  sampling jsonb not null default '{}', -- pi0, seed, last choice: what the sampler must not forget
  confident_in_a_row integer not null default 0,
  gate jsonb not null default '{"open": false, "reasons": []}',
  rows_total bigint,
  rows_migrated bigint not null default 0,
  verification jsonb,
  model jsonb,
  lag jsonb,
  rate double precision,
  eta_s double precision,
  wait_reason text,
  error jsonb,
  created_at timestamptz not null default now(),
  shadowing_at timestamptz,
  ready_at timestamptz,
  reads_cut_over_at timestamptz,
  copied_at timestamptz,            -- when the last range was passed: no snapshot older than this may meet the swap
  writes_cut_over_at timestamptz,
  completed_at timestamptz,
  updated_at timestamptz not null default now()
);

create table foreshadow.migration_event (
  id bigint generated always as identity primary key,
  migration_id integer not null references foreshadow.migration_status on delete cascade,
  at timestamptz not null default clock_timestamp(),
  kind text not null,               -- 'status', 'lock', 'wait', 'warning', 'schema', 'model', 'verification' …
  from_status text,
  to_status text,
  detail jsonb not null default '{}'
);
create index on foreshadow.migration_event (migration_id, id);

-- One writer of the target for each range of keys. The row lock is the fence; mode is read by the same select.
create table foreshadow.lane (
  migration_id integer not null references foreshadow.migration_status on delete cascade,
  lane integer not null,
  mode text not null check (mode in ('SHADOWING', 'IN_PROGRESS', 'UNIQUE', 'STOPPED')),
  epoch bigint not null default 1,
  holder_pid integer,
  holder_backend_start timestamptz,
  pi0 double precision not null default 0,   -- inclusion probability of the random remainder
  new_room integer not null default 0,       -- how many fresh rows this lane may still admit before the next choice
  primary key (migration_id, lane)
) with (fillfactor = 50);

-- Which table to use, for applications: select * from foreshadow.route('orders-v2')
create function foreshadow.route(name text, out read_from regclass, out write_to regclass, out epoch bigint)
language sql stable strict security definer
set search_path = pg_catalog, pg_temp
as $$
  select case m.read_from when 'source' then m.source_oid when 'overlay' then m.overlay_oid else m.target_oid end::regclass,
         case m.write_to when 'source' then m.source_oid else m.target_oid end::regclass,
         m.epoch
    from foreshadow.migration_status m
   where m.name = route.name
$$;
grant usage on schema foreshadow to public;
