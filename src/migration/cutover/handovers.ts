import type { ClientBase } from 'pg';
import { boundObjects } from './bound.queries.ts';
import { foreignKeyHandovers } from './carry-foreign-keys.ts';
import { policyHandovers } from './carry-policies.ts';
import { publicationHandovers } from './carry-publications.ts';
import { statisticsHandovers } from './carry-settings.ts';
import { triggerHandovers } from './carry-triggers.ts';
import { viewHandovers } from './carry-views.ts';
import { cannot, type Handover, twin } from './handover.ts';
import type { Move } from './move.ts';
import { boundStamp } from './relatives.ts';

/**
 * Everything that is bound to the table by its OID, each with what the swap does with it, in the order in which it is made
 * anew. An object of a kind that none of the carriers knows is among them, refused. Must run in a transaction, in which
 * it tries things and takes them back.
 */
export async function handovers(client: ClientBase, move: Move): Promise<Handover[]> {
  const found = [
    ...(await foreignKeyHandovers(client, move)),
    ...(await statisticsHandovers(client, move)),
    ...(await triggerHandovers(client, move)),
    ...(await policyHandovers(client, move)),
    ...(await viewHandovers(client, move)),
    ...(await publicationHandovers(client, move)),
  ];
  await tryOnTwin(client, move, found);
  const known = new Set(found.map(({ catalog, oid }) => `${catalog} ${oid}`));
  for (const bound of await boundObjects(client, move.from.oid, move.overlay)) {
    const ofRows = bound.by_type ? 'it uses the row type of the table' : 'nothing of this kind is carried';
    if (!known.has(`${bound.catalog} ${bound.oid}`)) found.push(cannot(bound, ofRows));
  }
  return found;
}

/** Refuses, in place, what PostgreSQL does not take over the new table's columns. */
async function tryOnTwin(client: ClientBase, move: Move, found: Handover[]): Promise<void> {
  if (!found.some(({ trial }) => trial.length)) return;
  await client.query('savepoint twin');
  const { rows } = await client.query<{ name: string }>('select $1::oid::regclass::text as name', [
    move.to.oid,
  ]);
  await client.query(`create temp table ${twin.split('.')[1]} (like ${rows[0]?.name} including all)`);
  for (const [i, handover] of found.entries()) {
    await client.query('savepoint trial');
    try {
      for (const sql of handover.trial) await client.query(sql);
    } catch (error) {
      const code = (error as { code?: string }).code ?? '';
      if (!code.startsWith('42') && !code.startsWith('0A')) throw error;
      found[i] = cannot(handover, `over the new table it fails: ${(error as Error).message}`);
    }
    await client.query('rollback to savepoint trial');
  }
  await client.query('rollback to savepoint twin');
}

/** What of it the swap needs. */
export interface HandoverPlan {
  readonly before: readonly string[];
  readonly after: readonly string[];
  readonly settle: readonly string[];
  /** other tables to be locked, in the order of their OIDs */
  readonly relatives: readonly { readonly oid: number; readonly name: string }[];
  readonly views: Handover['views'];
  readonly refused: readonly Handover[];
  /** {@link boundStamp} of before this was made */
  readonly stamp: string;
}

/** @param client not in a transaction */
export async function planHandovers(client: ClientBase, move: Move): Promise<HandoverPlan> {
  await client.query('begin isolation level read committed read write');
  try {
    // PostgreSQL opens tables to spell out what reads them; somebody may hold one alone
    await client.query("set local lock_timeout = '3s'");
    // first: what changes while the rest is read shows as a change
    const stamp = await boundStamp(client, move.from.oid);
    const all = await handovers(client, move);
    const made = all.filter(({ refused }) => refused === null);
    const oids = [...new Set(made.flatMap(({ relatives }) => relatives))].sort((a, b) => a - b);
    const { rows } = await client.query<{ oid: number; name: string }>(
      `select oid::int8::float8 as oid, oid::regclass::text as name from unnest($1::oid[]) oid order by 1`,
      [oids],
    );
    return {
      // what reads others is dropped before them, and made after them
      before: made.toReversed().flatMap(({ before }) => before),
      after: made.flatMap(({ after }) => after),
      settle: [...new Set(made.flatMap(({ settle }) => settle))],
      relatives: rows,
      views: made.toReversed().flatMap(({ views }) => views),
      refused: all.filter(({ refused }) => refused !== null),
      stamp,
    };
  } finally {
    await client.query('rollback').catch(() => undefined); // nothing of what was tried stays
  }
}
