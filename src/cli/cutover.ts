import { userInfo } from 'node:os';
import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { ForeshadowError } from '../core/errors.ts';
import { requireSchema } from '../db/migrate.ts';
import { cutOverReads } from '../migration/cutover/reads.ts';
import { cutOverWrites } from '../migration/cutover/writes.ts';
import { settleTarget } from '../migration/finish-target.ts';
import type { Gate } from '../migration/gate.ts';
import { getMigration, type Migration } from '../migration/status.store.ts';
import { describeMigration } from '../migration/status.ts';
import { type CommonFlags, interruptible, parseNumber, print, remark, say, withContext } from './output.ts';
import { statusText } from './status.ts';

/** What the option of that name does, here and in `rollback`. */
export const terminateBlockers =
  'end sessions of others that were in the way of three attempts and for 5 s; otherwise they are only named';

interface CutoverFlags extends CommonFlags {
  readonly reads?: boolean;
  readonly writes?: boolean;
  readonly attempts: number;
  readonly terminateBlockers?: boolean;
}

export function cutoverCommand(program: Command): Command {
  return program
    .command('cutover <name>')
    .description("the operator's turn: let reads, or writes, go to the new table")
    .option('--reads', 'READY → reads go to the overlay, the copy begins')
    .option('--writes', 'everything copied and verified → the tables change places')
    .option('--attempts <n>', 'how often to try for the lock before giving up', parseNumber, 60)
    .option('--terminate-blockers', terminateBlockers)
    .action(async (name: string, flags: CutoverFlags, command: Command) => {
      if (Boolean(flags.reads) === Boolean(flags.writes))
        throw new ForeshadowError('USAGE', 'say --reads or --writes');
      if (flags.reads && flags.terminateBlockers)
        throw new ForeshadowError(
          'USAGE',
          'nobody is in the way of --reads: say --terminate-blockers with --writes',
        );
      await withContext(command, async (ctx) => {
        await requireSchema(ctx.pool);
        const migration = await getMigration(ctx.pool, name);
        if (flags.reads) await reads(ctx, migration);
        else await writes(ctx, migration, flags);
        const status = await describeMigration(ctx.pool, name);
        if (flags.json) print(status);
        else say(statusText(status));
      });
    });
}

async function reads(ctx: Context, migration: Migration): Promise<void> {
  if (migration.status !== 'READY') {
    const { reasons } = migration.gate as Gate;
    throw new ForeshadowError(
      'GATE_SHUT',
      `migration ${migration.name} is ${migration.status}, not READY: ${reasons.join('; ') || 'nothing holds the gate'}`,
    );
  }
  await cutOverReads(ctx.pool, migration);
}

async function writes(ctx: Context, migration: Migration, flags: CutoverFlags): Promise<void> {
  if (migration.status !== 'IN_PROGRESS' || migration.phase !== 'ready') {
    throw new ForeshadowError(
      'GATE_SHUT',
      `migration ${migration.name} is ${migration.status}, phase ${migration.phase}; it must be copied and verified first`,
    );
  }
  const done = await interruptible((signal) =>
    cutOverWrites(migration, {
      pool: ctx.pool,
      connect: () => ctx.connect('cutover'),
      clock: ctx.clock,
      maxAttempts: flags.attempts,
      signal,
      onWait: async (reason) => remark(`  waiting: ${reason}`),
      terminateFor: () => (flags.terminateBlockers ? userInfo().username : null),
    }),
  );
  await settleTarget(ctx.pool, done, ctx.clock, async (reason) => {
    remark(`  waiting: ${reason}`);
    return true;
  });
}
