import type { ClientBase } from 'pg';

/** Roles and databases whose transactions are SERIALIZABLE unless they say otherwise. */
export async function serializableDefaults(client: ClientBase): Promise<string[]> {
  const { rows } = await client.query<{ what: string }>(
    `select case when d.setrole = 0 then 'every role' else 'role ' || quote_ident(pg_get_userbyid(d.setrole)) end
            || case when d.setdatabase = 0 then '' else ' in this database' end as what
       from pg_db_role_setting d cross join unnest(d.setconfig) as setting
      where setting = 'default_transaction_isolation=serializable'
        and d.setdatabase in (0, (select oid from pg_database where datname = current_database()))
      order by 1`,
  );
  return rows.map((row) => row.what);
}
