import type { Pool } from 'pg';

/**
 * The server's settings that decide what its log tells, by name, as they hold for sessions of this database whose roles
 * have none of their own.
 */
export async function logSettings(pool: Pool): Promise<Record<string, string>> {
  const { rows } = await pool.query<{ name: string; setting: string }>(
    `select name, setting from (
       select name, reset_val as setting, 0 as rank from pg_settings
        where name like 'log\\_%' or name in ('logging_collector', 'data_directory', 'track_commit_timestamp', 'lc_messages')
       union all
       select split_part(c, '=', 1), substr(c, strpos(c, '=') + 1), case when s.setdatabase = 0 then 1 else 2 end
         from pg_db_role_setting s cross join unnest(s.setconfig) c
        where s.setrole = 0 and c like 'log\\_%'
          and s.setdatabase in (0, (select oid from pg_database where datname = current_database()))) all_of_them
      where setting is not null order by rank`,
  );
  return Object.fromEntries(rows.map(({ name, setting }) => [name, setting]));
}

export interface RoleSetting {
  readonly role: string;
  readonly name: string;
  readonly value: string;
}

/** Settings of the log that single roles have of their own, in this database. */
export async function roleLogSettings(pool: Pool): Promise<RoleSetting[]> {
  const { rows } = await pool.query<RoleSetting>(
    `select r.rolname::text as role, split_part(c, '=', 1) as name, substr(c, strpos(c, '=') + 1) as value
       from pg_db_role_setting s join pg_roles r on r.oid = s.setrole cross join unnest(s.setconfig) c
      where c like 'log\\_%' and s.setdatabase in (0, (select oid from pg_database where datname = current_database()))
      order by 1, 2`,
  );
  return rows;
}
