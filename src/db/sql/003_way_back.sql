-- After the write cutover the old table is kept in step by lanes of its own, so that the migration can be rolled back.

alter table foreshadow.lane
  add direction text not null default 'forward' check (direction in ('forward', 'back')),
  drop constraint lane_pkey,
  add primary key (migration_id, direction, lane);
