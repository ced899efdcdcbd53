import type { ClientBase } from 'pg';
import type { TablePlan } from '../../core/plan.ts';
import { ident } from '../../db/ident.ts';
import { codeOf, sqlstate } from '../../db/sqlstate.ts';

/** Keys that the built-in probe looks up: the edges of key ranges, which are rows from all over the table. */
const keysKept = 64;
/** A probe that takes longer than this, in ms, has said enough. */
export const probeTimeout = 1000;

/** A statement like the application's own, to be timed again and again. */
export interface Probe {
  readonly sql: string;
  readonly values: readonly (readonly string[])[];
}

/** The user's own statement, else a lookup of S by key. @returns null where the table is too small to have an edge */
export async function chooseProbe(
  client: ClientBase,
  plan: TablePlan,
  own: string | undefined,
): Promise<Probe | null> {
  if (own !== undefined) return { sql: own, values: [] };
  const edges = plan.sourceKey.map((_, i) => `r.lo_k${i + 1}::text`).join(', ');
  const { rows } = await client.query<{ key: string[] }>(
    `select array[${edges}] as key from ${plan.names.range} r where r.lo_k1 is not null order by hash_record(r) limit ${keysKept}`,
  );
  if (!rows.length) return null;
  const key = plan.sourceKey.map(({ name, type }, i) => `s.${ident(name)} = $${i + 1}::${type}`);
  return {
    sql: `select 1 from ${plan.names.source} s where ${key.join(' and ')}`,
    values: rows.map((row) => row.key),
  };
}

/**
 * Times a commit: the way to the disk, and to a synchronous standby, that each write of the application has to go. The
 * message touches no table; logical decoding passes it on only where it is asked for messages.
 * @returns ms; as long as the timeout where that ended it
 */
export async function timeCommit(client: ClientBase): Promise<number> {
  const asked = performance.now();
  try {
    await client.query(
      `begin isolation level read committed read write; set local synchronous_commit to default;
       select pg_catalog.pg_logical_emit_message(true, 'foreshadow', ''); commit`,
    );
  } catch (error) {
    await client.query('rollback');
    if (codeOf(error) !== sqlstate.queryCanceled) throw error;
  }
  return performance.now() - asked;
}

/**
 * Times the probe `times` over, one after the other, seen from here: with the way to the server and the wait for a
 * processor, which are what an application feels. `turn` says which keys. The session has a statement_timeout.
 * @returns ms of each; one that was ended by the timeout counts as that long
 */
export async function timeProbe(
  client: ClientBase,
  probe: Probe,
  times: number,
  turn: number,
): Promise<number[]> {
  const found: number[] = [];
  for (let i = 0; i < times; i++) {
    const values = probe.values[(turn * times + i) % Math.max(1, probe.values.length)];
    const asked = performance.now();
    try {
      // named, so that planning is paid once a session; a probe of the user's own has no values
      if (values) await client.query({ name: 'foreshadow_probe', text: probe.sql, values: [...values] });
      else await client.query(probe.sql);
    } catch (error) {
      if (codeOf(error) !== sqlstate.queryCanceled) throw error;
    }
    found.push(performance.now() - asked);
  }
  return found;
}
