import type { ClientBase, QueryConfig } from 'pg';
import { ident, literal } from '../../db/ident.ts';
import { codeOf } from '../../db/sqlstate.ts';
import { type PlanSummary, summarise } from './plan-summary.ts';

/**
 * Statements of the application are planned and never run: EXPLAIN without ANALYZE, in a read-only transaction that is
 * rolled back (planning may call functions that are marked stable), for 5 s at most. They are text from a log, so they
 * travel by the extended protocol, which takes one command and no second one.
 */
export type Planned = { readonly plan: PlanSummary } | { readonly error: string; readonly code: string };

const limits = "set local statement_timeout = '5s'; set local lock_timeout = '1s'";

async function aside<T>(client: ClientBase, body: () => Promise<T>): Promise<T> {
  await client.query('begin isolation level read committed read only');
  try {
    await client.query(limits);
    return await body();
  } finally {
    await client.query('rollback');
  }
}

/** One command, whatever the text says. */
const single = (text: string): QueryConfig => ({ text, queryMode: 'extended' }) as QueryConfig;

async function explained(client: ClientBase, sql: string): Promise<Planned> {
  try {
    const { rows } = await client.query<{ 'QUERY PLAN': unknown }>(single(`explain (format json) ${sql}`));
    return { plan: summarise(rows[0]?.['QUERY PLAN']) };
  } catch (error) {
    return { error: withoutValues(error as Error), code: codeOf(error) ?? '' };
  }
}

/** PostgreSQL quotes the value that it cannot read; values of the application stay out of every report. */
function withoutValues(error: Error): string {
  const { message } = error;
  return codeOf(error)?.startsWith('22') ? message.replace(/: ".*"$/s, '').replace(/ "[^"]*"/g, '') : message;
}

/** Prepares a statement under a name; it stays prepared in the session. @returns the error, or its parameters' types */
export async function prepareStatement(
  client: ClientBase,
  name: string,
  sql: string,
): Promise<{ readonly types: readonly string[] } | { readonly error: string; readonly code: string }> {
  return aside(client, async () => {
    try {
      await client.query(single(`prepare ${ident(name)} as ${sql}`));
    } catch (error) {
      return { error: withoutValues(error as Error), code: codeOf(error) ?? '' };
    }
    const { rows } = await client.query<{ types: string[] }>(
      'select parameter_types::text[] as types from pg_prepared_statements where name = $1',
      [name],
    );
    return { types: rows[0]?.types ?? [] };
  });
}

/**
 * The plan of a prepared statement: the one for all values (what sessions get from the sixth execution on, if it is not
 * dearer), or the one for these values.
 */
export async function explainPrepared(
  client: ClientBase,
  name: string,
  params: readonly (string | null)[],
  mode: 'force_generic_plan' | 'force_custom_plan',
): Promise<Planned> {
  const values = params.map((value) => (value === null ? 'null' : literal(value))).join(', ');
  return aside(client, async () => {
    await client.query(`set local plan_cache_mode = ${mode}`);
    return explained(client, `execute ${ident(name)}${params.length ? `(${values})` : ''}`);
  });
}

/** The plan of a statement that cannot be prepared: a cursor, CREATE TABLE AS. `$n` are replaced by their values. */
export async function explainText(
  client: ClientBase,
  sql: string,
  params: readonly (string | null)[] | null,
): Promise<Planned> {
  const text = sql.replace(/\$(\d+)/g, (_, n: string) => {
    const value = params?.[Number(n) - 1] ?? null;
    return value === null ? 'null' : literal(value);
  });
  return aside(client, () => explained(client, text));
}
