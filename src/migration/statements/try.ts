import type { ClientBase } from 'pg';
import type { StatementShape } from '../../access/statement-shapes.ts';
import { explainPrepared, explainText, prepareStatement } from './explain.queries.ts';
import type { PlanSummary } from './plan-summary.ts';

/** A statement planned against some relation in the table's place: for all values, and for the values it once had. */
export interface Tried {
  /** none when it cannot be planned */
  readonly plans: readonly PlanSummary[];
  readonly error: string | null;
  /** SQLSTATE of the error */
  readonly code: string;
  /** types that PostgreSQL gives its parameters; empty when it cannot be prepared */
  readonly types: readonly string[];
  /** the statement's name in the session, when it is prepared there */
  readonly prepared: string | null;
}

/** Tries statements in one session, each prepared at most once. */
export class Trials {
  readonly #client: ClientBase;
  #count = 0;

  constructor(client: ClientBase) {
    this.#client = client;
  }

  /** @param sql the statement with another relation in the table's place */
  async plan(shape: StatementShape, sql: string): Promise<Tried> {
    const none = { plans: [], types: [], prepared: null };
    const { usage, params } = shape;
    if (usage.planning === 'none') return { ...none, error: null, code: '' };
    if (usage.planning === 'explain') {
      const found = await explainText(this.#client, sql, params);
      return 'error' in found
        ? { ...none, error: found.error, code: found.code }
        : { ...none, plans: [found.plan], error: null, code: '' };
    }
    this.#count += 1;
    const name = `foreshadow_shape_${this.#count}`;
    const prepared = await prepareStatement(this.#client, name, sql);
    if ('error' in prepared) return { ...none, error: prepared.error, code: prepared.code };
    return { ...(await this.again(shape, name)), types: prepared.types, prepared: name };
  }

  /** Plans a prepared statement anew: indexes may have come since. */
  async again(shape: StatementShape, name: string): Promise<Tried> {
    const { usage, params } = shape;
    const places = new Set([...usage.sql.matchAll(/\$(\d+)/g)].map(([, n]) => Number(n)));
    const count = Math.max(0, ...places);
    const values = Array.from({ length: count }, (_, i) => params?.[i] ?? null);
    const nulls = values.map(() => null);
    const found = [await explainPrepared(this.#client, name, nulls, 'force_generic_plan')];
    if (count > 0 && params !== null)
      found.push(await explainPrepared(this.#client, name, values, 'force_custom_plan'));
    const failed = found.find((each) => 'error' in each);
    return {
      plans: found.flatMap((each) => ('plan' in each ? [each.plan] : [])),
      error: failed && 'error' in failed ? failed.error : null,
      code: failed && 'error' in failed ? failed.code : '',
      types: [],
      prepared: name,
    };
  }

  async forget(name: string | null): Promise<void> {
    if (name !== null) await this.#client.query(`deallocate ${name}`);
  }
}
