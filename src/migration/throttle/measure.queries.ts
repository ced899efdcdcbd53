import type { ClientBase, Pool } from 'pg';
import type { Knobs } from '../../config/throttle-settings.ts';
import { notOursSql } from '../../db/pool.ts';
import { codeOf, sqlstate } from '../../db/sqlstate.ts';
import type { Migration } from '../status.store.ts';

/** One thing that is asked of the server, as a document; null where there is nothing to tell. */
interface Question {
  readonly name: string;
  /** what it is for, to be told when it may not be read */
  readonly what: string;
  readonly sql: (version: number) => string;
}

/** A server that is a standby itself has no WAL position of its own; there is no copy there either. */
const here = 'pg_catalog.pg_current_wal_lsn()';

const questions: readonly Question[] = [
  {
    name: 'standbys',
    what: 'replication lag',
    sql: () => `(select case when bool_or(r.state is null) then null else coalesce(json_agg(json_build_object(
        'name', r.application_name, 'lag_s', extract(epoch from r.replay_lag),
        'bytes', pg_wal_lsn_diff(${here}, r.replay_lsn)) order by r.pid) filter (where r.state = 'streaming'), '[]') end
      from pg_stat_replication r)`,
  },
  {
    name: 'slots',
    what: 'WAL that replication slots keep',
    sql: () => `(select coalesce(json_agg(json_build_object('name', s.slot_name,
        'retained', pg_wal_lsn_diff(${here}, s.restart_lsn), 'safe', s.safe_wal_size) order by s.slot_name), '[]')
      from pg_replication_slots s where s.restart_lsn is not null)`,
  },
  {
    name: 'active',
    what: 'active sessions',
    // ours are known by their names; a session whose state may not be seen has no backend type either
    sql: () => `(select case when bool_or(a.backend_type is null and a.datid is not null) then null
        else to_json(count(*) filter (where a.backend_type = 'client backend' and a.state = 'active'
                             and ${notOursSql('a')})) end
      from pg_stat_activity a where a.pid <> pg_backend_pid())`,
  },
  {
    name: 'wal',
    what: 'WAL',
    sql: () => `to_json(pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0'))`,
  },
  {
    name: 'forced',
    what: 'checkpoints',
    sql: (version) =>
      version >= 170000
        ? '(select to_json(num_requested) from pg_stat_checkpointer)'
        : '(select to_json(checkpoints_req) from pg_stat_bgwriter)',
  },
];

export interface Looked {
  readonly standbys: { name: string; lag_s: number | null; bytes: number | null }[] | null;
  readonly slots: { name: string; retained: number; safe: number | null }[] | null;
  readonly active: number | null;
  /** bytes written since the server was made */
  readonly wal: number | null;
  readonly forced: number | null;
}

/** What does not change while we look: settings of the server. Sizes in bytes. */
export interface ServerSettings {
  readonly version: number;
  readonly maxConnections: number;
  readonly walPerCheckpoint: number;
  readonly slotKeep: number | null;
  /** bytes of WAL that the first change of a page after a checkpoint takes; 0 with full_page_writes off */
  readonly fullPage: number;
}

export async function serverSettings(db: Pool | ClientBase): Promise<ServerSettings> {
  const { rows } = await (db as Pool).query<ServerSettings>(
    // WAL forces a checkpoint after this much of it, so that max_wal_size holds while the checkpoint is spread
    `select current_setting('server_version_num')::int as version, current_setting('max_connections')::int as "maxConnections",
            pg_size_bytes(current_setting('max_wal_size')) / (1 + current_setting('checkpoint_completion_target')::float8) as "walPerCheckpoint",
            (select nullif(setting, '-1')::float8 * 1048576 from pg_settings where name = 'max_slot_wal_keep_size') as "slotKeep",
            case when current_setting('full_page_writes')::bool then current_setting('block_size')::int else 0 end as "fullPage"`,
  );
  return rows[0] as ServerSettings;
}

/** What an operator wants, as the status row says it now. */
export interface Wishes {
  readonly status: Migration['status'];
  readonly knobs: Knobs;
}

const wishesSql = `(select json_build_object('status', m.status, 'knobs', m.throttle)
  from foreshadow.migration_status m where m.id = $1)`;

/** The operator's wishes alone. @returns null when the migration is gone */
export async function readWishes(db: Pool | ClientBase, id: number): Promise<Wishes | null> {
  const { rows } = await (db as Pool).query<{ wishes: Wishes | null }>(`select ${wishesSql} as wishes`, [id]);
  return rows[0]?.wishes ?? null;
}

const columns = (names: readonly string[], version: number) =>
  questions
    .map(({ name, sql }) => `${names.includes(name) ? sql(version) : 'null::json'} as ${name}`)
    .join(', ');

/** One look at everything in `names`, and the operator's wishes, in one round trip. */
export async function look(
  db: Pool | ClientBase,
  id: number,
  names: readonly string[],
  version: number,
): Promise<{ looked: Looked; wishes: Wishes | null }> {
  const { rows } = await (db as Pool).query<Looked & { wishes: Wishes | null }>({
    name: `foreshadow_look_${names.join('_')}`,
    text: `select ${columns(names, version)}, ${wishesSql} as wishes`,
    values: [id],
  });
  const { wishes, ...looked } = rows[0] as (typeof rows)[0];
  return { looked, wishes };
}

/** Which questions this role may ask, and of which it may not; asked once. */
export async function readable(
  db: Pool | ClientBase,
  version: number,
): Promise<{ names: string[]; unread: string[] }> {
  const names: string[] = [];
  const unread: string[] = [];
  for (const { name, what, sql } of questions) {
    try {
      const { rows } = await (db as Pool).query<{ found: unknown }>(`select ${sql(version)} as found`);
      if (rows[0]?.found === null) unread.push(what);
      else names.push(name);
    } catch (error) {
      if (codeOf(error) !== sqlstate.insufficientPrivilege) throw error;
      unread.push(what);
    }
  }
  return { names, unread };
}
