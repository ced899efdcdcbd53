import { changeColumns } from '../access/change-times.queries.ts';
import { type AccessMiner, type Lookup, type Reason, reasons } from '../access/index.ts';
import { keysByValue } from '../access/lookup.queries.ts';
import type { Context } from '../context.ts';
import type { Access } from '../core/access.ts';
import type { KeyId } from '../core/key.ts';
import type { KeyColumn } from '../core/plan.ts';
import { codeOf } from '../db/sqlstate.ts';
import { type Migration, recordOnce } from '../migration/status.store.ts';

/** Values looked up in one second, and in one statement. */
const valuesPerSecond = 2000;
const valuesAtOnce = 1000;
/** Rows that one value may have: more of them are a list, and no sign of what is needed next. */
const rowsPerValue = 50;

/**
 * With `queryLog.lookup`, statements that name rows by another indexed column (`where email = $1`) are resolved by
 * looking the value up in the source as it is now. Bounded: what does not fit into a second stays unresolved, counted.
 */
export class Lookups {
  readonly #ctx: Context;
  readonly #migration: Migration;
  readonly #columns: readonly KeyColumn[];
  #allowed = valuesPerSecond;
  #countedAt = Number.NEGATIVE_INFINITY;

  private constructor(ctx: Context, migration: Migration, columns: readonly KeyColumn[]) {
    this.#ctx = ctx;
    this.#migration = migration;
    this.#columns = columns;
  }

  /** The columns that the migration asks for, as far as an index begins with them; a warning names the others. */
  static async open(ctx: Context, migration: Migration): Promise<Lookups> {
    const { definition, plan, id } = migration;
    const names = definition.queryLog?.lookup ?? [];
    const { indexed } =
      names.length > 0 ? await changeColumns(ctx.pool, plan.sourceOid) : { indexed: new Set() };
    const columns: KeyColumn[] = [];
    for (const name of names) {
      const column = plan.sourceColumns.find((candidate) => candidate.name === name);
      if (column && indexed.has(name)) columns.push({ name, type: column.type });
      else {
        const why = column ? 'no whole index begins with it' : 'there is no such column';
        await recordOnce(ctx.pool, id, 'warning', `rows are not looked up by ${name}: ${why}`);
      }
    }
    return new Lookups(ctx, migration, columns);
  }

  get columns(): readonly KeyColumn[] {
    return this.#columns;
  }

  /** Looks up what the miner's last batch has left open. @returns the accesses found */
  async settle(miner: AccessMiner): Promise<Access[]> {
    const lookups = miner.lookups();
    if (lookups.length === 0) return [];
    this.#refill();
    const found = await this.#rowsOf(lookups);
    const accesses: Access[] = [];
    for (const lookup of lookups) {
      let reason: Reason | undefined;
      const own: Access[] = [];
      for (const { column, op, values } of lookup.wanted)
        for (const value of values) {
          const keys = found.get(`${column} ${value}`);
          if (!keys) reason ??= reasons.lookupBusy;
          else if (keys.length === 0) reason ??= reasons.lookupNone;
          else if (keys.length > rowsPerValue) reason ??= reasons.lookupMany;
          else for (const key of keys) own.push(accessOf(lookup, op, key));
        }
      miner.settle(lookup, own.length, reason);
      for (const access of own) accesses.push(access);
    }
    return accesses;
  }

  #refill(): void {
    const now = this.#ctx.clock.now();
    this.#allowed = Math.min(valuesPerSecond, this.#allowed + (now - this.#countedAt) * valuesPerSecond);
    this.#countedAt = now;
  }

  /** `column value` → keys; a value that is not in it was not looked up. */
  async #rowsOf(lookups: readonly Lookup[]): Promise<Map<string, KeyId[]>> {
    const { pool, log } = this.#ctx;
    const found = new Map<string, KeyId[]>();
    for (const [index, column] of this.#columns.entries()) {
      const wanted = new Set<string>();
      for (const { wanted: all } of lookups)
        for (const { column: of, values } of all)
          if (of === index) for (const value of values) wanted.add(value);
      const values = [...wanted].slice(0, Math.min(valuesAtOnce, Math.floor(this.#allowed)));
      if (values.length === 0) continue;
      this.#allowed -= values.length;
      try {
        const keys = await keysByValue(pool, this.#migration.plan, column, values, rowsPerValue);
        for (const [k, of] of (keys ?? []).entries()) found.set(`${index} ${values[k]}`, of);
      } catch (error) {
        // a value that the column cannot hold, or a statement that took too long: left open, and counted so
        const code = codeOf(error);
        if (!code?.startsWith('22') && code !== '57014' && code !== '42P01') throw error;
        log.warn({ err: error, column: column.name }, 'a lookup failed; its statements stay unresolved');
      }
    }
    return found;
  }
}

function accessOf({ at, weight }: Lookup, op: Access['op'], key: KeyId): Access {
  return weight === 1 ? { key, op, at } : { key, op, at, weight };
}
