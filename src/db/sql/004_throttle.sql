-- What an operator has turned while a migration runs, and what the throttle makes of it.

alter table foreshadow.migration_status
  add throttle jsonb not null default '{}',   -- knobs that were turned: they win over the migration file
  add throttle_state jsonb,                   -- what holds the copy back at the moment, and what was measured
  add shadow_fraction double precision,       -- the size of the shadow, when it was changed while running
  add eta_total_s double precision;           -- until writes may be cut over; eta_s is the copy alone
