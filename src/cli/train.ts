import type { Command } from 'commander';
import { prefixGroup } from '../backtest/options.ts';
import { type CalendarEvent, readCalendarFile } from '../calendar/index.ts';
import { seconds } from '../config/migration-file.ts';
import type { Access } from '../core/access.ts';
import { systemClock } from '../core/clock.ts';
import { ForeshadowError } from '../core/errors.ts';
import { requireSchema } from '../db/migrate.ts';
import { getMigration } from '../migration/status.store.ts';
import {
  type Manifest,
  readEventsFile,
  saveModel,
  type Trained,
  trainModel,
  type World,
} from '../model/index.ts';
import { Live } from '../pipeline/live.ts';
import { observedSoFar } from '../pipeline/observation.ts';
import { worldOf } from '../pipeline/world.ts';
import { type CommonFlags, configOf, parseNumber, print, remark, say, table, withContext } from './output.ts';

interface TrainFlags extends CommonFlags {
  readonly events?: string;
  readonly calendar?: string;
  readonly out?: string;
  readonly name?: string;
  readonly horizon?: string;
  readonly budget: number;
  readonly seed: number;
}

export function trainCommand(program: Command): Command {
  return program
    .command('train [name]')
    .description('train a model from the query log of a migration, or offline from a file of events')
    .option('--events <file>', 'CSV or CSV.gz with ts_seconds,key,op (R or W); key may be group:rest')
    .option(
      '--calendar <file>',
      'with --events: CSV start,end,group[,kind][,weight] of announced events, in the events’ time',
    )
    .option('--out <dir>', 'registry to save into (the model folder)')
    .option('--name <name>', 'name of the model; the migration, or "events"')
    .option(
      '--horizon <duration>',
      'how far ahead to predict: 30s, 15m, 4h; a tenth of the span of the events when absent',
    )
    .option('--budget <share>', 'share of the rows a choice may hold', parseNumber, 0.1)
    .option('--seed <n>', 'the same seed gives the same model', parseNumber, 1)
    .action(async (migration: string | undefined, flags: TrainFlags, command: Command) => {
      if (Boolean(migration) === Boolean(flags.events))
        throw new ForeshadowError('USAGE', 'name a migration, or give --events FILE');
      if (flags.calendar && !flags.events)
        throw new ForeshadowError(
          'USAGE',
          '--calendar goes with --events; a migration has its own in predict.calendar',
        );
      const trained = flags.events
        ? await fromEvents(flags.events, flags)
        : await fromLog(migration as string, flags, command);
      const out = flags.out ?? configOf(command).modelsDir;
      const saved = await saveModel(out, flags.name ?? migration ?? 'events', trained.predictor);
      trained.predictor.dispose();
      if (flags.json)
        print({ schema: 1, version: saved.version, path: saved.path, manifest: saved.manifest });
      else say(summary(trained.manifest, saved.path));
    });
}

/** Groups where keys have them, as in `backtest`. */
function prefixWorld(accesses: readonly Access[], events: readonly CalendarEvent[]): World {
  if (accesses.some(({ key }) => prefixGroup(key) !== null)) return { groupOf: prefixGroup, events };
  if (events.length > 0) remark('foreshadow: the calendar has no effect: no key has a group before a colon');
  return {};
}

async function fromEvents(path: string, flags: TrainFlags): Promise<Trained> {
  const announced = flags.calendar ? await readCalendarFile(flags.calendar) : [];
  const accesses = await readEventsFile(path);
  const first = accesses[0]?.at;
  const last = accesses.at(-1)?.at;
  if (first === undefined || last === undefined || last <= first)
    throw new ForeshadowError('USAGE', `${path} holds too few events to learn from`);
  return trainModel({
    accesses,
    world: prefixWorld(accesses, announced),
    now: last + 1e-6,
    horizonSeconds: flags.horizon ? seconds(flags.horizon) : (last - first) / 10,
    budget: flags.budget,
    seed: flags.seed,
    clock: systemClock,
  });
}

async function fromLog(name: string, flags: TrainFlags, command: Command): Promise<Trained> {
  return withContext(command, async (ctx) => {
    await requireSchema(ctx.pool);
    const migration = await getMigration(ctx.pool, name);
    await new Live(ctx).catchUp(migration);
    const accesses = await observedSoFar(ctx, migration);
    if (!accesses.length)
      throw new ForeshadowError(
        'LOG_UNREADABLE',
        `nothing in the query log of ${name} could be resolved to rows of ${migration.definition.source}`,
      );
    const { world, announced } = await worldOf(ctx, migration, accesses);
    for (const problem of announced.problems) remark(`foreshadow: training goes on without it: ${problem}`);
    return trainModel({
      accesses,
      world,
      now: ctx.clock.now(),
      horizonSeconds: seconds(flags.horizon ?? migration.definition.predict.horizon),
      budget: flags.budget,
      tableRows: Number(migration.rows_total),
      seed: flags.seed,
      changeWeight: migration.definition.predict.changeWeight,
      clock: ctx.clock,
    });
  });
}

/** The model beside every baseline, on each past window. */
function summary(manifest: Manifest, path: string): string {
  const percent = (share: number | undefined) =>
    share === undefined ? '–' : `${(share * 100).toFixed(1)} %`;
  const names = [...new Set(manifest.metrics.flatMap((window) => Object.keys(window.shares)))];
  const rows = manifest.metrics.map((window) => [
    `window at ${window.at.toFixed(0)}`,
    ...names.map((name) => percent((window.shares as Record<string, number>)[name])),
  ]);
  return [
    `${manifest.training.events} accesses to ${manifest.training.keys} keys; horizon ${manifest.horizon_seconds} s, half-life ${manifest.half_life.seconds.toFixed(1)} s`,
    `predictor: ${manifest.predictor} (${manifest.reason})`,
    rows.length ? table([['hit share', ...names], ...rows]) : 'no past window to validate on',
    `saved to ${path}`,
  ].join('\n');
}
