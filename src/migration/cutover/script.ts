import type { ClientBase } from 'pg';
import { together } from '../../db/tx.ts';
import { grantsSql } from './carry.ts';
import { sequencesSql } from './carry-sequences.ts';
import type { Move } from './move.ts';

/**
 * What may change until the moment of the exchange. All else about the table stands still under the lock that an attempt
 * begins with (SHARE UPDATE EXCLUSIVE, which holds nobody back); GRANT takes no lock on the table, and numbers are drawn
 * until writers are held.
 */
export interface LastMinute {
  readonly sequences: { readonly before: readonly string[]; readonly after: readonly string[] };
  readonly grants: readonly string[];
}

/** The statements of an exchange, written before anybody is held, but for what is read at the last minute. */
export type Script = (last: LastMinute) => string[];

/** To be read under the locks of the exchange. */
export async function lastMinute(client: ClientBase, move: Move): Promise<LastMinute> {
  const [sequences, grants] = await together(client, [
    () => sequencesSql(client, move),
    () => grantsSql(client, move),
  ]);
  return { sequences, grants };
}
