import { describe, expect, it } from 'vitest';
import { binder } from '../../src/confidence/bind.ts';
import { binSql, facetsOf } from '../../src/confidence/facets.ts';
import { castTo, comparableFields } from '../../src/confidence/fields.ts';
import type { MappedColumn, TablePlan } from '../../src/core/plan.ts';

const mapped = (name: string, over: Partial<MappedColumn> = {}): MappedColumn => ({
  name,
  type: 'integer',
  category: 'N',
  notNull: false,
  expression: `s."${name}"`,
  value: `s."${name}"`,
  reads: [name],
  identity: true,
  overriding: false,
  ...over,
});
const computed = (name: string, expression: string, reads: string[]) =>
  mapped(name, { expression, value: `(${expression})::integer`, reads, identity: false });
const source = (name: string) => ({ name, type: 'integer', category: 'N', notNull: false });

const planOf = (over: Partial<TablePlan>) =>
  ({ columns: [], sourceColumns: [], back: [], invariants: [], ...over }) as unknown as TablePlan;

const found = (plan: TablePlan, weights = {}) =>
  comparableFields(plan, weights).fields.map(({ name, space, checked }) => `${name} ${space} ${checked}`);

describe('comparableFields', () => {
  it('prefers the raw column, then the back map, then f', () => {
    const plan = planOf({
      columns: [
        mapped('id'),
        computed('euros', 's."cents" / 100', ['cents']),
        computed('n', 's."x" + 1', ['x']),
      ],
      sourceColumns: [source('id'), source('cents'), source('x')],
      back: [
        { column: 'cents', expression: 't.euros * 100' },
        { column: 'id', expression: 't.id' },
      ],
    });
    expect(found(plan)).toEqual(['id raw raw', 'cents back back', 'n forward unchecked']);
    const [, back, forward] = comparableFields(plan, {}).fields;
    expect(back).toMatchObject({ sourceSql: 's."cents"', targetSql: '(t.euros * 100)::integer' });
    expect(forward).toMatchObject({ sourceSql: '(s."x" + 1)::integer', targetSql: 't."n"' });
  });

  it('looks at a column that no back map reads, though its source column has one', () => {
    const plan = planOf({
      columns: [computed('a', 's."x" + 1', ['x']), computed('b', 's."x" * 2', ['x'])],
      sourceColumns: [source('x')],
      back: [{ column: 'x', expression: `t.a - 1 + length('b') * 0` }],
    });
    expect(found(plan)).toEqual(['x back back', 'b forward unchecked']);
  });

  it('takes an invariant for a check only when it names the target’s column', () => {
    const columns = [
      computed('total', 's."x" + 1', ['x']),
      computed('Sub total', 's."x"', ['x']),
      computed('tot', '1', []),
    ];
    const invariants = [{ name: 'i', sql: `t.total > 0 and t . "Sub total" > 0 and 't.tot' <> ''` }];
    expect(found(planOf({ columns, invariants }))).toEqual([
      'total forward invariant',
      'Sub total forward invariant',
      'tot forward unchecked',
    ]);
  });

  it('weighs by source column, and names what it does not know', () => {
    const plan = planOf({
      columns: [mapped('id'), computed('b', 's."x" * 2', ['x'])],
      sourceColumns: [source('id'), source('x')],
    });
    const { fields, unknown } = comparableFields(plan, { x: 2, nope: 1 });
    expect(fields.map(({ name, weight }) => [name, weight])).toEqual([['b', 2]]);
    expect(unknown).toEqual(['nope']);
    expect(comparableFields(plan, { id: 0, b: 1 }).fields.map(({ name }) => name)).toEqual(['b']);
  });
});

describe('castTo', () => {
  it.each([
    ['character varying(3)', 'character varying'],
    ['character varying(3)[]', 'character varying[]'],
    ['character(3)', 'bpchar'],
    ['character', 'bpchar'],
    ['bit(4)', 'bit varying'],
    ['bit varying(4)', 'bit varying'],
    ['numeric(10,2)', 'numeric(10,2)'],
    ['timestamp(0) with time zone', 'timestamp(0) with time zone'],
    ['my_schema.character_kind', 'my_schema.character_kind'],
  ])('%s cuts nothing off', (type, free) => {
    expect(castTo('x', type)).toBe(`(x)::${free}`);
  });
});

describe('facets', () => {
  const field = (form: 'number' | 'string' | 'opaque' | 'enum') =>
    ({
      name: 'x',
      form,
      space: 'raw',
      weight: 1,
      checked: 'raw',
      sourceSql: 's.x',
      targetSql: 't.x',
    }) as const;

  it('compare a string by value or by classes, anything else without order by classes', () => {
    expect(facetsOf(field('string')).map(({ name, type }) => `${name} ${type}`)).toEqual([
      'value frequent',
      'length quantile',
      'prefix frequent',
    ]);
    expect(facetsOf(field('opaque')).map(({ name }) => name)).toEqual(['length', 'prefix']);
    expect(facetsOf(field('enum')).map(({ name }) => name)).toEqual(['value']);
    expect(facetsOf(field('number'))[0]).toMatchObject({
      sourceSql: '(s.x)::float8',
      targetSql: '(t.x)::float8',
    });
  });

  it('bind every value of a row', () => {
    const { values, bind } = binder();
    const labels = [`o'pen`, 'paid'];
    const sql = binSql(
      { ...facetsOf(field('enum'))[0]!, bins: { type: 'frequent', labels } },
      'targetSql',
      bind,
    );
    expect(sql).not.toContain('pen');
    expect(values).toEqual([labels]);
  });
});
