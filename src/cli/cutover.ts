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

interface CutoverFlags extends CommonFlags {
  readonly reads?: boolean;
  readonly writes?: boolean;
  readonly attempts: number;
}

export function cutoverCommand(program: Command): Command {
  return program
    .command('cutover <name>')
    .description("the operator's turn: let reads, or writes, go to the new table")
    .option('--reads', 'READY → reads go to the overlay, the copy begins')
    .option('--writes', 'everything copied and verified → the tables change places')
    .option('--attempts <n>', 'how often to try for the lock before giving up', parseNumber, 60)
    .action(async (name: string, flags: CutoverFlags, command: Command) => {
      if (Boolean(flags.reads) === Boolean(flags.writes))
        throw new ForeshadowError('USAGE', 'say --reads or --writes');
      await withContext(command, async (ctx) => {
        await requireSchema(ctx.pool);
        const migration = await getMigration(ctx.pool, name);
        if (flags.reads) await reads(ctx, migration);
        else await writes(ctx, migration, flags.attempts);
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

async function writes(ctx: Context, migration: Migration, maxAttempts: number): Promise<void> {
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
      maxAttempts,
      signal,
      onWait: async (reason) => remark(`  waiting: ${reason}`),
    }),
  );
  await settleTarget(ctx.pool, done, ctx.clock, async (reason) => {
    remark(`  waiting: ${reason}`);
    return true;
  });
}
