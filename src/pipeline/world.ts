import { groupsOfKeys } from '../access/groups.queries.ts';
import { firstAccessAt } from '../access/store.queries.ts';
import { type CalendarEvent, publicHolidays, readCalendarFile } from '../calendar/index.ts';
import { type MigrationFile, seconds } from '../config/migration-file.ts';
import type { Context } from '../context.ts';
import type { Access } from '../core/access.ts';
import type { KeyId } from '../core/key.ts';
import { type FeatureSpec, featureSpec } from '../features/spec.ts';
import { type Migration, recordOnce } from '../migration/status.store.ts';
import type { World } from '../model/index.ts';

const year = 366 * 86_400;
/** Holidays are looked up from the first access on, but a log with a time of 1970 in it asks for no more than this. */
const mostYearsBack = 10;

/** Whether rows have groups, or events are announced. Without a column, one group has all rows. */
const isGrouped = ({ predict }: MigrationFile) =>
  predict.group !== undefined || predict.calendar !== undefined || predict.holidays !== undefined;

/** The one spec of a migration's features: training, serving and the registry must agree. */
export function specOf({ definition }: Pick<Migration, 'definition'>): FeatureSpec {
  return featureSpec(seconds(definition.predict.horizon), { grouped: isGrouped(definition) });
}

/** Events that are known in advance, and what stood in the way of knowing more. */
export interface Announced {
  /** by start */
  readonly events: readonly CalendarEvent[];
  /** why the calendar, or the holidays, could not be read: one sentence each, with the path */
  readonly problems: readonly string[];
}

/**
 * Reads the calendar and works out the holidays of `predict`. What cannot be read is left out and said: prediction goes
 * on without it.
 * @param from how far back holidays go, Unix seconds; they go on to a year after `now`
 */
export async function announcedBy(
  predict: MigrationFile['predict'],
  from: number,
  now: number,
): Promise<Announced> {
  const events: CalendarEvent[] = [];
  const problems: string[] = [];
  const take = async (read: () => CalendarEvent[] | Promise<CalendarEvent[]>) => {
    try {
      for (const event of await read()) events.push(event);
    } catch (error) {
      problems.push((error as Error).message);
    }
  };
  const { calendar, holidays } = predict;
  if (calendar !== undefined) await take(() => readCalendarFile(calendar));
  if (holidays !== undefined) {
    const span = { from: Math.max(Math.min(from, now), now - mostYearsBack * year), until: now + year };
    await take(() => publicHolidays({ ...holidays, ...span }));
  }
  return { events: events.sort((a, b) => a.start - b.start), problems };
}

/** The announced events of a migration; a problem with them becomes a warning, once. */
export async function announcedTo(ctx: Context, migration: Migration, from?: number): Promise<Announced> {
  const now = ctx.clock.now();
  const { predict } = migration.definition;
  const first = from ?? (await firstAccessAt(ctx.pool, migration.id)) ?? now;
  const announced = await announcedBy(predict, first, now);
  if (announced.problems.length > 0) {
    const message = `prediction goes on without announced events: ${announced.problems.join('; ')}`;
    ctx.log.warn({ migration: migration.name }, message);
    await recordOnce(ctx.pool, migration.id, 'warning', message);
  }
  return announced;
}

/** Groups of keys, where the migration names a column for them; one query for many keys. */
export async function groupsOf(
  ctx: Context,
  { plan, definition }: Migration,
  keys: ReadonlySet<KeyId>,
): Promise<ReadonlyMap<KeyId, string>> {
  const { group } = definition.predict;
  if (group === undefined || keys.size === 0) return new Map();
  return groupsOfKeys(ctx.pool, plan, group, [...keys]);
}

/**
 * What training knows beside the accesses. It reads the log several times over and asks for a key's group each time, so
 * the groups of its keys are held for as long as it takes.
 */
export async function worldOf(
  ctx: Context,
  migration: Migration,
  accesses: readonly Access[],
): Promise<{ readonly world: World; readonly announced: Announced }> {
  let from = ctx.clock.now();
  const keys = new Set<KeyId>();
  for (const { key, at } of accesses) {
    keys.add(key);
    if (at < from) from = at;
  }
  const announced = await announcedTo(ctx, migration, from);
  if (!isGrouped(migration.definition)) return { world: {}, announced };
  const groups = await groupsOf(ctx, migration, keys);
  return {
    world: { groupOf: (key) => groups.get(key) ?? null, events: announced.events },
    announced,
  };
}
