import { planLabel, type TablePlan } from '../core/plan.ts';
import { ident } from '../db/ident.ts';
import { mappedKeyColumns, mappedKeyValues, ourKeyColumns, sourceKey } from './fragments.ts';

/** Empty rows that the key log is born with: 65 pages of nothing, which a vacuum without truncation never gives back. */
const padding = 12_000;
/** Rows of S whose keys teach the planner that keys in the log differ. */
const sampled = 1_000;

/**
 * What the planner believes of the key log must not depend on when somebody looked at it. Vacuumed or analysed while it
 * is empty, it counts as no page at all, plans scan it, and prepared statements keep such a plan when a hundred
 * thousand changes wait in it (22 ms a lookup instead of 0.1). So it has pages from the start, statistics that say that
 * its keys differ, and nobody analyses it again.
 */
function steadyPlansSql(plan: TablePlan): string[] {
  const { keyLog, source } = plan.names;
  return [
    `insert into ${keyLog} (op) select ' ' from generate_series(1, ${padding})`,
    `delete from ${keyLog}`,
    `insert into ${keyLog} (${ourKeyColumns(plan)}, op)
       select ${sourceKey(plan)}, ${mappedKeyValues(plan)}, ' ' from ${source} s limit ${sampled}`,
    `analyze ${keyLog}`,
    `delete from ${keyLog}`,
  ];
}

/** Throws dead rows away, and their index entries, before lookups and lanes have to pass over them. */
export function vacuumKeyLogSql(plan: TablePlan): string {
  return `vacuum (index_cleanup on, truncate off, skip_locked) ${plan.names.keyLog}`;
}

/** Our tables of one migration. Columns are copied from S and T, with their types and collations, by CREATE TABLE AS. */
export function migrationTablesSql(plan: TablePlan): string[] {
  const { source, target, keyLog, changeEvent, member, range, overlayGate } = plan.names;
  const k = (prefix: string) =>
    plan.sourceKey.map((column, i) => `s.${ident(column.name)} as ${prefix}k${i + 1}`).join(', ');
  const m = plan.targetKey
    .map((column, i) => `${column.ofTarget ? column.value : `t.${ident(column.name)}`} as m${i + 1}`)
    .join(', ');
  const from = `from ${source} as s cross join ${target} as t with no data`;
  return [
    `create table ${keyLog} as select ${k('')}, ${m}, ' '::"char" as op, clock_timestamp() as at ${from}`,
    // High churn, few rows: vacuum early, never give blocks back (that needs an exclusive lock on a table that the
    // application writes to), never be throttled.
    `alter table ${keyLog} alter column at set default clock_timestamp(), set (
       autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0,
       autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000,
       autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 2147483647,
       vacuum_truncate = off)`,
    ...steadyPlansSql(plan),
    `create index ${ident(`key_log_${planLabel(plan)}_mapped`)} on ${keyLog} (${mappedKeyColumns(plan)})`,

    `create table ${changeEvent} as select ${k('')}, ' '::"char" as op, clock_timestamp() as at ${from}`,
    `create index on ${changeEvent} using brin (at)`,

    `create table ${member} as select ${k('')}, ${m}, ''::text as stratum, 0::float8 as probability, 0::float8 as u,
       ''::text as state, clock_timestamp() as since ${from}`,
    `alter table ${member} add primary key (${mappedKeyColumns(plan)}),
       alter column stratum set not null, alter column state set not null,
       add check (state in ('wanted', 'present', 'leaving'))`,
    // in the order in which lanes admit: certain rows first, then by chance in order of u
    `create index on ${member} (state, (stratum = 'random'), u) where state <> 'present'`,
    // so that neither the certain rows nor a sample of the random ones asks for a look at all members
    `create index on ${member} (${mappedKeyColumns(plan)}) where stratum <> 'random'`,
    `create index on ${member} (u) where stratum = 'random'`,

    `create table ${range} as select 0 as range_id, 0 as lane, ${k('lo_')}, ${k('hi_')}, ${k('cur_')}, false as done,
       0::bigint as copied, 0::float8 as heat, 0::bigint as size ${from}`,
    `alter table ${range} add primary key (range_id), alter column lane set not null,
       alter column done set default false, alter column done set not null,
       alter column copied set default 0, alter column copied set not null,
       alter column heat set default 0, alter column heat set not null`,

    // Open while it is empty, closed by a row of the transaction that swaps: older snapshots still see it open and S as
    // it was, and so do snapshots from before the migration, which would not see a row that says "open".
    `create table ${overlayGate} (closed_at timestamptz not null)`,
  ];
}

export function dropMigrationTablesSql(plan: TablePlan): string[] {
  const { keyLog, changeEvent, member, range, overlayGate } = plan.names;
  return [keyLog, changeEvent, member, range, overlayGate].map((table) => `drop table if exists ${table}`);
}
