import { userInfo } from 'node:os';
import type { Command } from 'commander';
import type { KnobChange } from '../config/throttle-settings.ts';
import { ForeshadowError } from '../core/errors.ts';
import { requireSchema } from '../db/migrate.ts';
import { describeMigration } from '../migration/status.ts';
import { turnKnobs } from '../migration/throttle/knobs.store.ts';
import { type CommonFlags, print, say, withContext } from './output.ts';

type ThrottleFlags = CommonFlags & Readonly<Record<string, string | undefined>>;

/** Flag → what it takes; every flag also takes `none` (no limit) and `file` (as the migration file says). */
const flagsOf = {
  rowsPerSecond: ['--rows-per-second <n>', 'rows that are copied a second, at most'],
  chunkTime: ['--chunk-time <duration>', 'how long a chunk should take, such as 20ms'],
  maxLag: ['--max-lag <duration>', 'replay lag of a standby, such as 2s'],
  maxSlotWal: ['--max-slot-wal <bytes>', 'WAL that a replication slot may keep'],
  maxActive: ['--max-active <n>', 'sessions of others at work at once; or auto'],
  maxWalRate: ['--max-wal-rate <bytes>', 'WAL a second of the whole server'],
  checkpointEvery: ['--checkpoint-every <duration>', 'checkpoints may not be forced more often'],
  maxLatency: [
    '--max-latency <factor>',
    'of the probe and of a commit, in times of what they take without the copy',
  ],
} as const satisfies Record<keyof KnobChange, readonly [string, string]>;

const numbers: readonly string[] = ['rowsPerSecond', 'maxSlotWal', 'maxActive', 'maxWalRate', 'maxLatency'];

export function throttleCommand(program: Command): Command {
  const command = program
    .command('throttle <name>')
    .description(
      'turn the limits of a migration while it runs; "none" lets go of one, "file" gives it back to the file',
    );
  for (const [flag, says] of Object.values(flagsOf)) command.option(flag, says);
  return command.action(async (name: string, flags: ThrottleFlags, self: Command) => {
    const change: Record<string, unknown> = {};
    for (const knob of Object.keys(flagsOf)) {
      const given = flags[knob];
      if (given === undefined) continue;
      if (given === 'file') change[knob] = null;
      else
        change[knob] =
          numbers.includes(knob) && given !== 'none' && given !== 'auto' ? numberOf(given) : given;
    }
    if (!Object.keys(change).length)
      throw new ForeshadowError('USAGE', 'say which limit to turn; see --help');
    await withContext(self, async (ctx) => {
      await requireSchema(ctx.pool);
      const { throttle } = await turnKnobs(ctx.pool, name, change, userInfo().username);
      if (flags.json) print(await describeMigration(ctx.pool, name));
      else say(`migration ${name}: ${JSON.stringify(throttle)} wins over the file, from within a second on`);
    });
  });
}

/** What is no number is told by the check of all knobs. */
const numberOf = (text: string): number | string => (Number.isFinite(Number(text)) ? Number(text) : text);
