import type { QueryConfig } from 'pg';
import type { Order } from './ledger.ts';
import { type Operation, type OrderStatus, statuses, type WireProtocol } from './workload.ts';

/** The format that a table speaks: the source the old one, overlay and target the new one. */
export type Format = 'old' | 'new';

/** A table as foreshadow.route() names it, with the format that goes with it. */
export interface Table {
  readonly name: string;
  readonly format: Format;
}

export const sourceTable: Table = { name: 'public.orders', format: 'old' };

/** @param name a regclass as text, with or without its schema */
export function tableOf(name: string): Table {
  return { name, format: /(^|\.)orders_v2$/.test(name) ? 'new' : 'old' };
}

const columns: Readonly<Record<Format, string>> = {
  old: 'id, customer_id, status, amount_cents, doc, created_at, updated_at',
  new: 'id, customer_id, status, amount, city, items, gift, created_at, updated_at',
};

/** The statement for an operation, as an application that was written for that format would send it. */
export function statementFor(operation: Operation, table: Table): QueryConfig {
  switch (operation.kind) {
    case 'read':
      return operation.ids.length === 1
        ? readOne(operation.ids[0]!, operation.protocol, table)
        : readPage(operation.ids, operation.protocol, table);
    case 'update':
      return update(operation, table);
    case 'insert':
      return insert(operation, table);
    case 'delete':
      return { text: `delete from ${table.name} where id = $1`, values: [operation.id] };
  }
}

function readOne(id: number, protocol: WireProtocol, table: Table): QueryConfig {
  const head = `select ${columns[table.format]} from ${table.name} where id = `;
  if (protocol === 'simple') return { text: `${head}${id}` };
  const named = protocol === 'named' ? { name: `order ${table.name}` } : {};
  return { ...named, text: `${head}$1`, values: [id] };
}

function readPage(ids: readonly number[], protocol: WireProtocol, table: Table): QueryConfig {
  const head = `select ${columns[table.format]} from ${table.name} where id `;
  switch (protocol) {
    case 'simple':
      return { text: `${head}in (${ids.join(', ')})` };
    case 'extended':
      return { text: `${head}in (${ids.map((_, i) => `$${i + 1}`).join(', ')})`, values: [...ids] };
    case 'named':
      return { name: `page ${table.name}`, text: `${head}= any ($1)`, values: [ids] };
  }
}

function update(operation: Operation & { kind: 'update' }, table: Table): QueryConfig {
  const { id, status, cents, protocol } = operation;
  const old = table.format === 'old';
  const column = status !== undefined ? 'status' : old ? 'amount_cents' : 'amount';
  const value =
    status !== undefined ? (old ? status : statuses.indexOf(status)) : amount(cents ?? 0, table.format);
  if (protocol === 'simple') {
    const literal = typeof value === 'number' ? value : `'${value}'`;
    return { text: `update ${table.name} set ${column} = ${literal}, updated_at = now() where id = ${id}` };
  }
  const named = protocol === 'named' ? { name: `set ${column} ${table.name}` } : {};
  return {
    ...named,
    text: `update ${table.name} set ${column} = $1, updated_at = now() where id = $2`,
    values: [value, id],
  };
}

function insert(operation: Operation & { kind: 'insert' }, table: Table): QueryConfig {
  const { customer, cents, city, items, gift } = operation;
  const old = table.format === 'old';
  const into = old
    ? 'customer_id, status, amount_cents, doc'
    : 'customer_id, status, amount, city, items, gift';
  const values = old
    ? [customer, 'open', cents, JSON.stringify({ city, items, gift })]
    : [customer, statuses.indexOf('open'), amount(cents, 'new'), city, items, gift];
  const places = values.map((_, i) => `$${i + 1}`).join(', ');
  return {
    name: `place ${table.name}`,
    text: `insert into ${table.name} (${into}) values (${places}) returning id`,
    values,
  };
}

const amount = (cents: number, format: Format): number | string =>
  format === 'old' ? cents : `${Math.floor(cents / 100)}.${String(cents % 100).padStart(2, '0')}`;

/** A row of either format in the units of the ledger. pg gives bigint and numeric as text. */
export function readOrder(row: Record<string, unknown>, format: Format): { id: number } & Order {
  const id = Number(row.id);
  return format === 'old'
    ? { id, status: row.status as OrderStatus, cents: Number(row.amount_cents) }
    : { id, status: statuses[Number(row.status)]!, cents: Math.round(Number(row.amount) * 100) };
}

/** Every row of a table in pages of ids, for the start and the end of the application. */
export function pageOfTable(table: Table, above: number, limit: number): QueryConfig {
  const value = table.format === 'old' ? 'amount_cents' : 'amount';
  return {
    text: `select id, customer_id, status, ${value} from ${table.name} where id > $1 order by id limit $2`,
    values: [above, limit],
  };
}
