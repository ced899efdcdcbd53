import type { Client } from 'pg';
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { type EvaluateOptions, evaluate } from '../../src/confidence/evaluate.ts';
import { castTo, comparableFields } from '../../src/confidence/fields.ts';
import type { ConfidenceReport } from '../../src/confidence/report.ts';
import { collectSourceStatistics } from '../../src/confidence/source-statistics.ts';
import { parseMigrationFile } from '../../src/config/migration-file.ts';
import type { MappedColumn, TablePlan } from '../../src/core/plan.ts';
import { testDatabase } from '../support/database.ts';

const rows = 20_000;
const pi0 = 0.2;
const seed = 42;

const settings = parseMigrationFile({
  name: 'm',
  source: 's',
  target: 't',
  key: ['id'],
  confidence: { threshold: 0.9 },
}).confidence;

let client: Client;
let plan: TablePlan;

const column = (
  name: string,
  type: string,
  category: string,
  expression = `s."${name}"`,
  reads = [name],
): MappedColumn => ({
  name,
  type,
  category,
  expression,
  value: castTo(expression, type),
  reads,
  notNull: false,
  identity: expression === `s."${name}"`,
  overriding: false,
});

beforeAll(async () => {
  const database = await testDatabase();
  client = await database.client();
  await client.query(`
    create schema foreshadow;
    create table public.orders (
      tenant int, id bigint, status text, amount_cents int, note text, paid boolean, at timestamptz, doc json,
      place point, primary key (tenant, id));
    create table foreshadow.orders_v2 (
      tenant text, id bigint, status text, amount numeric(12,2), note text, paid boolean, at timestamptz, doc json,
      place point, upper_status text, primary key (tenant, id));
    create table foreshadow.member (
      k1 int, k2 bigint, m1 text, m2 bigint, stratum text, probability float8, u float8, state text,
      since timestamptz default now(), primary key (m1, m2));
    create table foreshadow.key_log (k1 int, k2 bigint, m1 text, m2 bigint, op "char", at timestamptz default clock_timestamp());
    create table foreshadow.change_event (k1 int, k2 bigint, op "char", at timestamptz default clock_timestamp());
    insert into orders
    select i % 3, i, (array['open','paid','sent','sent'])[1 + (i * 7919) % 4], ((i * 7919) % 10007),
           case when (i * 31) % 10 = 0 then null else 'note ' || md5(i::text) end, i % 5 = 0,
           timestamptz '2024-01-01' + i * interval '1 minute', json_build_object('i', i), point(i, -i)
      from generate_series(1, ${rows}) i;
    analyze orders;`);
  const {
    rows: [oids],
  } = await client.query(
    `select 'orders'::regclass::oid::int as s, 'foreshadow.orders_v2'::regclass::oid::int as t`,
  );
  plan = {
    migrationId: 1,
    name: 'm',
    sourceOid: oids.s,
    targetOid: oids.t,
    names: {
      source: '"public"."orders"',
      target: '"foreshadow"."orders_v2"',
      overlay: '"public"."orders_v2"',
      keyLog: '"foreshadow"."key_log"',
      changeEvent: '"foreshadow"."change_event"',
      member: '"foreshadow"."member"',
      range: '"foreshadow"."range"',
      overlayGate: '"foreshadow"."overlay_gate"',
    },
    sourceKey: [
      { name: 'tenant', type: 'integer' },
      { name: 'id', type: 'bigint' },
    ],
    targetKey: [
      {
        name: 'tenant',
        type: 'text',
        value: 's."tenant"::text',
        ofParameters: '$1::text',
        ofColumns: 'k1::text',
      },
      { name: 'id', type: 'bigint', value: 's."id"', ofParameters: '$2', ofColumns: 'k2' },
    ],
    sourceColumns: [
      { name: 'tenant', type: 'integer', notNull: true, category: 'N' },
      { name: 'id', type: 'bigint', notNull: true, category: 'N' },
      { name: 'status', type: 'text', notNull: false, category: 'S' },
      { name: 'amount_cents', type: 'integer', notNull: false, category: 'N' },
      { name: 'note', type: 'text', notNull: false, category: 'S' },
      { name: 'paid', type: 'boolean', notNull: false, category: 'B' },
      { name: 'at', type: 'timestamp with time zone', notNull: false, category: 'D' },
      { name: 'doc', type: 'json', notNull: false, category: 'U' },
      { name: 'place', type: 'point', notNull: false, category: 'G' },
    ],
    columns: [
      column('tenant', 'text', 'S', 's."tenant"::text'),
      column('id', 'bigint', 'N'),
      column('status', 'text', 'S'),
      column('amount', 'numeric(12,2)', 'N', 's."amount_cents" / 100.0', ['amount_cents']),
      column('note', 'text', 'S'),
      column('paid', 'boolean', 'B'),
      column('at', 'timestamp with time zone', 'D'),
      column('doc', 'json', 'U'),
      column('place', 'point', 'G'),
      column('upper_status', 'text', 'S', 'upper(s."status")', ['status']),
    ],
    back: [{ column: 'amount_cents', expression: 'round(t.amount * 100)::int' }],
    invariants: [{ name: 'amount kept', sql: 't.amount * 100 = s.amount_cents' }],
    generated: [],
    targetOrder: [],
    seed,
  };
});

beforeEach(() => fill());
afterEach(() =>
  client.query(
    'truncate foreshadow.member, foreshadow.orders_v2, foreshadow.key_log, foreshadow.change_event',
  ),
);

/** A: rows that satisfy `hot`; B: by u. T = f(S) for all of them, with columns replaced by `wrong`. */
async function fill(hot = 's.id > 18500', wrong: Record<string, string> = {}): Promise<void> {
  await client.query(
    'truncate foreshadow.member, foreshadow.orders_v2, foreshadow.key_log, foreshadow.change_event',
  );
  await client.query(
    `insert into foreshadow.member (k1, k2, m1, m2, stratum, probability, u, state)
     select tenant, id, tenant::text, id, case when hot then 'predictive' else 'random' end,
            case when hot then 1 else $2::float8 end, u, 'present'
       from (select s.*, (${hot}) as hot, ((hash_record_extended(row(s.tenant, s.id), $1) >> 11) & 9007199254740991)::float8
                    / 9007199254740992.0 as u from orders s) s
      where hot or u < $2::float8`,
    [seed, pi0],
  );
  const f = plan.columns.map(({ name, expression }) => wrong[name] ?? expression);
  await client.query(
    `insert into foreshadow.orders_v2 (${plan.columns.map(({ name }) => name).join(', ')})
     select ${f.join(', ')} from orders s join foreshadow.member m on (m.k1, m.k2) = (s.tenant, s.id)`,
  );
}

async function report(
  options: Partial<EvaluateOptions> = {},
  on: TablePlan = plan,
): Promise<ConfidenceReport> {
  return (await evaluate(client, on, settings, { pi0, ...options })).report;
}

const field = (from: ConfidenceReport, name: string) => from.fields.find((one) => one.name === name)!;

describe('a faithful shadow', () => {
  it('is confident, with every term', async () => {
    const faithful = await report();
    expect(faithful.reasons).toEqual([]);
    expect(faithful.holds).toBe(true);
    expect(faithful.similarity_score).toBeGreaterThan(0.96);
    expect(faithful.level).toBeCloseTo(0.7 * faithful.similarity_score + 0.3, 12);
    expect(faithful.lower).toBeLessThan(faithful.level);
    expect(faithful.upper).toBeGreaterThanOrEqual(faithful.level);
    expect(faithful.change_rate_factor).toBe(1);
    expect(faithful.accuracy).toBe(1);
    expect(faithful.defects.sync).toMatchObject({ found: 0 });
    expect(faithful.defects.sync.upper_bound).toBeLessThan(0.002);
    expect(faithful.source).toMatchObject({ rows, method: 'scan', rows_error: 0, share_error: 0 });
    expect(faithful.random_members).toBeGreaterThan(3400);
    for (const one of faithful.fields) {
      expect(one.lower, one.name).toBeGreaterThan(0.9);
      expect(one.similarity, one.name).toBeLessThanOrEqual(1);
      expect(
        one.shares.source.reduce((a, b) => a + b),
        one.name,
      ).toBeCloseTo(1, 9);
      expect(
        one.shares.shadow.reduce((a, b) => a + b),
        one.name,
      ).toBeCloseTo(1, 9);
    }
  });

  it('finds the fields, their kinds, their space and what checks them', async () => {
    const faithful = await report();
    const found = Object.fromEntries(
      faithful.fields.map((f) => [f.name, `${f.kind} ${f.space} ${f.checked}`]),
    );
    expect(found).toEqual({
      id: 'number raw raw',
      status: 'category raw raw',
      note: 'text raw raw',
      paid: 'boolean raw raw',
      at: 'time raw raw',
      doc: 'text raw raw',
      place: 'text raw raw',
      amount_cents: 'number back back',
      tenant: 'category forward unchecked',
      upper_status: 'category forward unchecked',
    });
    expect(field(faithful, 'note').nulls.source).toBeCloseTo(0.1, 9);
    expect(faithful.notes.join()).toContain('tenant, upper_status');
  });

  it('sees through a hot set that is nothing like the table', async () => {
    await fill(`s.status = 'open' and s.amount_cents < 4000`);
    const biased = await report();
    expect(biased.reasons).toEqual([]);
    expect(field(biased, 'status').similarity).toBeGreaterThan(0.97);
    expect(field(biased, 'amount_cents').similarity).toBeGreaterThan(0.95);
    // the same rows without strata are far off
    const raw = await client.query(
      `select avg((status = 'open')::int)::float8 as open from foreshadow.orders_v2`,
    );
    expect(raw.rows[0].open).toBeGreaterThan(0.4);
  });

  it('uses random members only up to the first absent one', async () => {
    const whole = await report();
    await client.query(
      `with gone as (update foreshadow.member set state = 'wanted' where m2 = (
         select m2 from foreshadow.member where stratum = 'random' and u > 0.1 order by u limit 1) returning m1, m2)
       delete from foreshadow.orders_v2 t using gone g where (t.tenant, t.id) = (g.m1, g.m2)`,
    );
    const part = await report();
    expect(part.pi_eff).toBeGreaterThan(0.1);
    expect(part.pi_eff).toBeLessThan(0.101);
    expect(part.random_members).toBeLessThan(0.6 * whole.random_members);
    expect(field(part, 'amount_cents').similarity).toBeGreaterThan(0.95);
  });

  it('counts rows of A that are not in T yet against the lower bound', async () => {
    await client.query(
      `with gone as (update foreshadow.member set state = 'wanted' where stratum <> 'random' and m2 % 3 = 0 returning m1, m2)
       delete from foreshadow.orders_v2 t using gone g where (t.tenant, t.id) = (g.m1, g.m2)`,
    );
    const late = await report();
    const paid = field(late, 'paid');
    expect(paid.similarity - paid.lower).toBeGreaterThan(500 / rows);
    expect(late.accuracy).toBe(1);
  });

  it('says that it knows nothing without random members', async () => {
    await client.query(`with gone as (delete from foreshadow.member where stratum = 'random' returning m1, m2)
      delete from foreshadow.orders_v2 t using gone g where (t.tenant, t.id) = (g.m1, g.m2)`);
    const blind = await report();
    expect(blind.holds).toBe(false);
    expect(blind.similarity_score).toBeLessThan(0.2);
    expect(blind.similarity_upper).toBe(1);
    expect(blind.reasons.map((reason) => reason.term)).toContain('members');
  });
});

describe('a dead field', () => {
  it('lowers its bound, and is named, though the mean hides it', async () => {
    await fill(undefined, { upper_status: `'OPEN'` });
    const dead = await report();
    expect(field(dead, 'upper_status').lower).toBeLessThan(0.4);
    expect(dead.holds).toBe(false);
    const reason = dead.reasons.find((one) => one.term === 'field')!;
    expect(reason).toMatchObject({ name: 'upper_status', needed: 0.85 });
    expect(reason.short_by).toBeCloseTo(0.85 - field(dead, 'upper_status').lower, 9);
    expect(reason.clear).toContain('map of upper_status');
  });

  it('shows NULLs that the source does not have, where the distance alone would pass', async () => {
    await fill(undefined, { paid: `case when s.id % 20 = 1 then null else s.paid end` });
    const holes = await report();
    expect(field(holes, 'paid').lower).toBeGreaterThan(0.85);
    expect(holes.reasons.find((one) => one.term === 'nulls')).toMatchObject({ name: 'paid' });
  });
});

describe('defects', () => {
  /** On a crowded machine fewer members are looked at, so that no snapshot grows old: then again. */
  const finding = (found: number) =>
    vi.waitFor(
      async () => {
        const seen = await report();
        expect(seen.defects.sync.found).toBe(found);
        return seen;
      },
      { timeout: 20_000, interval: 200 },
    );

  it('of sync: rows that differ from f(S), with their keys', async () => {
    await client.query(`update foreshadow.orders_v2 set doc = '{"i":0}' where id = 19000`);
    await client.query(`update foreshadow.orders_v2 set place = point(0, 0) where id = 19001`);
    await client.query(`update foreshadow.orders_v2 set note = 'stale' where id = 19002`);
    const broken = await finding(3);
    expect(broken.accuracy).toBeCloseTo(1 - 3 / broken.defects.sync.checked, 12);
    expect(broken.defects.map.found).toBe(0);
    const reason = broken.reasons.find((one) => one.term === 'sync')!;
    expect(reason.message).toContain('(1, 19000)');
    expect(broken.holds).toBe(false);
  });

  it('of sync: a zombie in T, and a row missing from T', async () => {
    await client.query('begin');
    await client.query(`delete from foreshadow.orders_v2 where id = 19003`);
    await client.query(`create temp table kept as select * from orders where id = 19004`);
    await client.query(`delete from orders where id = 19004`);
    await client.query('commit');
    await finding(2);
    await client.query('insert into orders select * from kept; drop table kept');
  });

  it('a member gone from both tables is no defect', async () => {
    await client.query(
      `insert into foreshadow.member values (9, 9, '9', 9, 'predictive', 1, 0.5, 'present')`,
    );
    expect((await report()).defects.sync.found).toBe(0);
  });

  it('leaves out keys in the key log', async () => {
    await client.query(
      `update foreshadow.orders_v2 set note = 'stale', amount = 0 where id in (19000, 19001)`,
    );
    await client.query(
      `insert into foreshadow.key_log (k1, k2, m1, m2, op) values (1, 19000, '1', 19000, 'U')`,
    );
    const lagging = await finding(1);
    expect(lagging.reasons.find((one) => one.term === 'sync')!.message).not.toContain('19000');
    expect(lagging.change_rate_factor).toBeCloseTo(1 - 1 / rows, 12);
    await client.query(
      `insert into foreshadow.key_log (k1, k2, m1, m2, op) values (2, 19001, '2', 19001, 'U')`,
    );
    expect((await report()).accuracy).toBe(1);
  });

  it('of the map: f truncates, so T equals f(S), but the back map and the invariant tell', async () => {
    const truncating = 'floor(s."amount_cents" / 100.0)';
    const wrong: TablePlan = {
      ...plan,
      columns: plan.columns.map((c) =>
        c.name === 'amount' ? { ...c, expression: truncating, value: castTo(truncating, c.type) } : c,
      ),
    };
    await fill(undefined, { amount: truncating });
    const mapped = await report({}, wrong);
    expect(mapped.accuracy).toBe(1);
    expect(mapped.defects.sync.found).toBe(0);
    expect(mapped.defects.map.found).toBeGreaterThan(0.9 * mapped.defects.map.checked);
    expect(mapped.defects.map.upper_bound).toBeGreaterThan(0.9);
    const reasons = mapped.reasons.filter((one) => one.term === 'map');
    expect(reasons.map((one) => one.name).sort()).toEqual(['amount kept', 'amount_cents']);

    const unchecked = await report({}, { ...wrong, back: [], invariants: [] });
    expect(unchecked.defects.map).toEqual({ found: 0, checked: 0, upper_bound: 1 });
    expect(field(unchecked, 'amount')).toMatchObject({ space: 'forward', checked: 'unchecked' });
    const invariant = await report({}, { ...wrong, back: [] });
    expect(field(invariant, 'amount').checked).toBe('invariant');
  });

  it('an invariant that raises is named by its SQLSTATE and costs nothing else', async () => {
    const raising = {
      ...plan,
      invariants: [...plan.invariants, { name: 'odd', sql: '1 / (s.id - s.id) = t.id' }],
    };
    const rest = await report({}, raising);
    const map = rest.reasons.filter((one) => one.term === 'map');
    expect(map).toHaveLength(1);
    expect(map[0]!.message).toContain('odd raised SQLSTATE 22012');
    expect(rest.accuracy).toBe(1);
    expect(rest.defects.map.checked).toBeGreaterThan(3000);
  });

  it('an invariant that comes out NULL fails, and the reason says how to write it', async () => {
    const nullable = { ...plan, invariants: [{ name: 'note', sql: 't.note = s.note' }] };
    const reason = (await report({}, nullable)).reasons.find((one) => one.name === 'note')!;
    expect(reason.message).toContain('NULL instead of true');
    expect(reason.clear).toContain('IS NOT DISTINCT FROM');
  });

  it('a field whose expression raises is named, the others are measured', async () => {
    const raising = { ...plan, back: [{ column: 'amount_cents', expression: '(t.note)::int' }] };
    const rest = await report({}, raising);
    expect(rest.reasons.find((one) => one.term === 'unmeasured')).toMatchObject({ name: 'amount_cents' });
    expect(rest.reasons.find((one) => one.term === 'unmeasured')!.message).not.toContain('note ');
    expect(field(rest, 'status').similarity).toBeGreaterThan(0.9);
  });

  it('checks a sample of a large shadow, says so, and widens the bound', async () => {
    const all = await report();
    const some = await report({ checkLimit: 500 });
    expect(some.checks_sampled).toBe(true);
    expect(some.defects.sync.checked).toBeGreaterThan(350);
    expect(some.defects.sync.checked).toBeLessThan(650);
    expect(some.defects.sync.upper_bound).toBeGreaterThan(all.defects.sync.upper_bound);
    expect(some.notes.join()).toContain('random sample');
  });
});

describe('a cut-off value', () => {
  it('is not hidden by the cast to a shorter type', async () => {
    await client.query('create table public.words (id int primary key, w varchar(8));');
    await client.query('create table foreshadow.words_v2 (id int primary key, w text);');
    await client.query(`create table foreshadow.word_member (k1 int, m1 int primary key, stratum text, probability float8,
      u float8, state text, since timestamptz)`);
    await client.query(`create table foreshadow.word_log (k1 int, m1 int, op "char", at timestamptz)`);
    await client.query(
      `insert into words select i, 'word' || lpad(i::text, 4, '0') from generate_series(1, 100) i`,
    );
    // f appends to every word and the back map does not take it off: a cast to varchar(8) would, in silence
    await client.query(`insert into foreshadow.words_v2 select id, w || '!' from words`);
    await client.query(
      `insert into foreshadow.word_member select id, id, 'predictive', 1, 0.5, 'present' from words`,
    );
    const w = { name: 'w', notNull: false, category: 'S' } as const;
    const id = { name: 'id', type: 'integer' } as const;
    const oids = await client.query(
      `select 'words'::regclass::oid::int as s, 'foreshadow.words_v2'::regclass::oid::int as t`,
    );
    const words: TablePlan = {
      ...plan,
      sourceOid: oids.rows[0].s,
      targetOid: oids.rows[0].t,
      names: {
        ...plan.names,
        source: '"public"."words"',
        target: '"foreshadow"."words_v2"',
        member: '"foreshadow"."word_member"',
        keyLog: '"foreshadow"."word_log"',
        changeEvent: '"foreshadow"."word_log"',
      },
      sourceKey: [id],
      targetKey: [{ ...id, value: 's."id"', ofParameters: '$1', ofColumns: 'k1' }],
      sourceColumns: [
        { ...id, notNull: true, category: 'N' },
        { ...w, type: 'character varying(8)' },
      ],
      columns: [column('id', 'integer', 'N'), column('w', 'text', 'S', `s."w" || '!'`)],
      back: [{ column: 'w', expression: `t.w` }],
      invariants: [],
    };
    const { defects } = await report({}, words);
    expect(defects.sync.found).toBe(0);
    expect(defects.map.found).toBe(100);
  });
});

describe('source statistics', () => {
  it('are kept between evaluations, and taken again when the source has moved on', async () => {
    const first = await evaluate(client, plan, settings, { pi0 });
    const second = await evaluate(client, plan, settings, { pi0, source: first.source });
    expect(second.source).toBe(first.source);
    const again = JSON.parse(JSON.stringify(first.source));
    const third = await evaluate(client, plan, settings, { pi0, source: again });
    expect(third.report.similarity_score).toBe(second.report.similarity_score);

    // 5 % of the keys changed long before the window: measured again
    const old = {
      ...first.source,
      takenAt: first.source.takenAt - 3600,
      changesSince: first.source.changesSince - 3600,
    };
    await client.query(`insert into foreshadow.change_event (k1, k2, op, at)
      select tenant, id, 'U', now() - interval '10 minutes' from orders where id <= 1000`);
    const moved = await evaluate(client, plan, settings, { pi0, source: old });
    expect(moved.source.takenAt).toBeGreaterThan(old.takenAt + 3000);
    expect(moved.report.change_rate_factor).toBe(1);
    const kept = await evaluate(client, plan, settings, { pi0, source: old, maxDrift: 0.5 });
    expect(kept.report.change_rate_factor).toBeCloseTo(0.95, 12);
  });

  it('count distinct keys over at least the last window, refreshed or not', async () => {
    const { source } = await evaluate(client, plan, settings, { pi0 });
    await client.query(`insert into foreshadow.change_event (k1, k2, op, at)
      select tenant, id, 'U', now() - interval '30 seconds' from orders, generate_series(1, 3) where id <= 2000`);
    await client.query(`insert into foreshadow.key_log (k1, k2, m1, m2, op)
      select tenant, id, tenant::text, id, 'U' from orders where id between 1001 and 3000`);
    const busy = await report({ source });
    expect(busy.change_rate_factor).toBeCloseTo(1 - 3000 / rows, 12);
  });

  it('come from random blocks above a set size, with their error', async () => {
    const { fields } = comparableFields(plan, {});
    await client.query('begin read only');
    const scan = await collectSourceStatistics(client, plan, fields);
    const blocks = await collectSourceStatistics(client, plan, fields, { scanRows: 6000, edgeRows: 2000 });
    await client.query('commit');
    expect(scan).toMatchObject({ method: 'scan', rows, rowsError: 0 });
    expect(blocks.method).toBe('blocks');
    expect(blocks.sampledRows).toBeGreaterThan(3000);
    expect(blocks.sampledRows).toBeLessThan(9000);
    expect(blocks.rowsError).toBeGreaterThan(100);
    expect(Math.abs(blocks.rows - rows)).toBeLessThan(4 * blocks.rowsError);
    const judged = await report({ source: blocks });
    expect(judged.source).toMatchObject({ method: 'blocks' });
    expect(judged.source.share_error).toBeGreaterThan(0.002);
    expect(judged.notes.join()).toContain('random blocks');
    // wider than with a scan: the source's error is in the bound
    const scanned = await report({ source: scan });
    const width = (r: ConfidenceReport) => field(r, 'at').similarity - field(r, 'at').lower;
    expect(width(judged)).toBeGreaterThan(width(scanned));
  });

  it('give a heavy value and NULL bins of their own, whatever the values', async () => {
    await client.query(`
      create table public.odd (id int primary key, n numeric, f float8, d date, i interval, l text, z int);
      insert into public.odd select i, case when i % 2 = 0 then 7 when i % 10 = 1 then 'NaN'::numeric else i end,
             case when i % 3 = 0 then 'Infinity'::float8 when i % 3 = 1 then 'NaN' else i end,
             case when i % 4 = 0 then date 'infinity' else date '2024-01-01' + i end, make_interval(secs => i),
             repeat('long', 100) || i, null
        from generate_series(1, 1000) i;
      analyze public.odd`);
    const names = ['n', 'f', 'd', 'i', 'l', 'z'];
    const types = ['numeric', 'double precision', 'date', 'interval', 'text', 'integer'];
    const columns = names.map((name, i) => column(name, types[i]!, 'NNDTSN'[i]!));
    const odd: TablePlan = {
      ...plan,
      sourceOid: (await client.query(`select 'odd'::regclass::oid::int as oid`)).rows[0].oid,
      names: { ...plan.names, source: '"public"."odd"' },
      sourceColumns: columns,
      columns,
      back: [],
    };
    await client.query('begin read only');
    const { fields, unmeasured } = await collectSourceStatistics(
      client,
      odd,
      comparableFields(odd, {}).fields,
    );
    await client.query('commit');
    expect(unmeasured).toEqual([]);
    const facet = (name: string, i = 0) => fields.find((one) => one.name === name)!.facets[i]!;
    expect(facet('n').facet.bins).toMatchObject({ heavy: ['7', 'NaN'] });
    expect(facet('n').groups[0]!.slice(0, 3)).toEqual([0, 501, 100]);
    expect(facet('f').facet.bins).toMatchObject({ heavy: ['Infinity', 'NaN'] });
    expect(facet('f').groups[0]!.slice(0, 3)).toEqual([0, 333, 334]);
    expect(facet('d').facet.bins).toMatchObject({ heavy: ['Infinity'] });
    expect(facet('z').groups[0]!).toEqual([1000, 0]);
    expect(fields.find((one) => one.name === 'l')!.kind).toBe('text');
    for (const { facets } of fields) {
      for (const { groups } of facets) expect(groups[0]!.reduce((a, b) => a + b)).toBe(1000);
    }
  });
});

describe('fields by weight', () => {
  it('names only these, weighs them, and says which it does not know', async () => {
    const weighted = { ...settings, fields: { status: 3, paid: 1, nonsense: 1 } };
    const { report: some } = await evaluate(client, plan, weighted, { pi0 });
    expect(some.fields.map(({ name, weight }) => [name, weight])).toEqual([
      ['status', 3],
      ['paid', 1],
      ['upper_status', 3],
    ]);
    const mean =
      (3 * field(some, 'status').similarity +
        field(some, 'paid').similarity +
        3 * field(some, 'upper_status').similarity) /
      7;
    expect(some.similarity_score).toBeCloseTo(mean, 12);
    expect(some.reasons.map(({ term, name }) => [term, name])).toEqual([['unmeasured', 'nonsense']]);
  });
});
