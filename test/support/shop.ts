import type { Client } from 'pg';
import { scanShape } from '../../src/access/shape.ts';
import type { MigrationFile } from '../../src/config/migration-file.ts';
import type { Part } from './migrations.ts';

/** A shop whose table changes types, for statements of many kinds: `public.orders` with `rows` rows, and an empty target. */
export const shopSql = (rows: number) => `
  create table public.customers (id int primary key, name text not null);
  insert into public.customers select g, 'c' || g from generate_series(1, ${Math.max(10, rows / 20)}) g;
  create table public.orders (
    id int primary key, customer_id int not null, status text not null, amount_cents int not null,
    doc jsonb not null, created_at timestamptz not null, note text);
  insert into public.orders
    select g, 1 + g % ${Math.max(10, rows / 20)}, (array['open', 'paid', 'sent', 'sent', 'sent'])[1 + g % 5], g % 50000,
           jsonb_build_object('city', 'city ' || g % 50), now() - g * interval '1 minute', null
      from generate_series(1, ${rows}) g;
  create index orders_customer on public.orders (customer_id);
  create index orders_created on public.orders (created_at);
  create index orders_status_created on public.orders (status, created_at);
  analyze public.orders; analyze public.customers;
  create type public.order_status as enum ('open', 'paid', 'sent');
  create table public.orders_v2 (
    id bigint primary key, customer_id bigint not null, status public.order_status not null, amount numeric(12, 2) not null,
    city text not null, created_at timestamptz not null, note text);`;

export const shopFile = {
  name: 'shop',
  source: 'public.orders',
  target: 'public.orders_v2',
  key: ['id'],
  map: {
    id: 'id::bigint',
    customer_id: 'customer_id::bigint',
    status: `case status ${['open', 'paid', 'sent'].map((label) => `when '${label}' then '${label}'::public.order_status`).join(' ')} end`,
    amount: '(amount_cents / 100.0)::numeric(12, 2)',
    city: "doc ->> 'city'",
  },
  back: { status: 'status::text', amount_cents: 'round(amount * 100)::int' },
} satisfies Part<MigrationFile>;

/** An application's session, each of whose statements the server logs. */
export const logged = {
  application_name: 'shop',
  options: '-c log_statement=all -c log_min_messages=log',
};

interface Read {
  readonly text: string;
  readonly values?: unknown[];
  readonly name?: string;
  /** as a report calls it */
  readonly shape: string;
}

/** Reads of the old format, by what they are. */
const reads: Readonly<Record<string, Omit<Read, 'shape'>>> = {
  'by key, as text': { text: 'select id, customer_id, status, amount_cents from orders where id = 77' },
  'by key': { text: 'select id, customer_id, created_at from public.orders where id = $1', values: [77] },
  'several keys': { text: 'select id, customer_id from orders where id = any ($1)', values: [[5, 50, 500]] },
  'by customer': {
    name: 'by customer',
    text: 'select id, created_at from orders where customer_id = $1',
    values: [7],
  },
  'latest of a customer': {
    text: 'select id from orders o where o.customer_id = $1 order by o.created_at desc limit 5',
    values: [7],
  },
  latest: { text: 'select id, created_at from orders order by created_at desc limit $1', values: [20] },
  'first keys': { text: 'select id from orders where id > $1 order by id limit 50', values: [1000] },
  'a day': {
    text: 'select count(*) from orders where created_at between $1 and $2',
    values: ['2020-01-01', '2020-01-02'],
  },
  'open ones': {
    text: "select id from orders where status = 'open' and created_at > now() - interval '2 hours'",
  },
  totals: { text: 'select status, count(*), sum(amount_cents) from orders group by status' },
  'with their customer': {
    text: 'select o.id, c.name from orders o join customers c on c.id = o.customer_id where c.name = $1',
    values: ['c7'],
  },
  everything: { name: 'everything', text: 'select * from orders where id = $1', values: [3] },
};

export const shopReads: Readonly<Record<string, Read>> = Object.fromEntries(
  Object.entries(reads).map(([name, read]) => [name, { ...read, shape: scanShape(read.text).shape }]),
);

/** The same question to the target, as an application written for it would put it. */
export const inNewFormat = (sql: string): string =>
  sql.replace(/\borders\b/g, 'orders_v2').replace(/amount_cents/g, 'amount');

export const shopWrites: readonly string[] = [
  'begin isolation level serializable',
  'select id from orders where id = 5 for update',
  "update orders set note = 'x' where id = 5",
  'commit',
  'insert into orders (id, customer_id, status, amount_cents, doc, created_at) select 0, 1, status, 1, doc, now() from orders where id = 1 on conflict (id) do nothing',
  'select ctid, id from orders where id = 5',
  'select count(*) from orders tablesample system (1)',
];

export async function useShop(app: Client, times = 3): Promise<void> {
  for (let i = 0; i < times; i++) for (const query of Object.values(shopReads)) await app.query(query);
  for (const text of shopWrites) await app.query(text);
}
