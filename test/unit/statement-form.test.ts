import { describe, expect, it } from 'vitest';
import { statementForm } from '../../src/migration/cutover/statement-form.ts';

describe('the form of a statement', () => {
  it.each([
    [`select * from t where a = 'x' and b = 17`, 'select * from t where a = ? and b = ?'],
    [`select 'it''s' , "a'b", t1.c2 from s2`, `select ? , "a'b", t1.c2 from s2`],
    [String.raw`select e'it\'s secret', 1`, 'select ?, ?'],
    [`select $$a 'secret'$$, $x$ $$ secret $x$, $1`, 'select ?, ?, $1'],
    ['select 1.5, 2e17, 0xFF, 1_000, .5', 'select ?, ?, ?, ?, .?'],
    [`select 1 -- it's secret\n from t /* 'secret */ where b`, 'select ? from t where b'],
    [`update t set a = 'cut off in the midd`, 'update t set a = ?'],
    [`update t set a = $$cut off in the midd`, 'update t set a = ?'],
    [`select 1 /* cut off`, 'select ?'],
  ])('of %s', (query, form) => {
    expect(statementForm(query)).toBe(form);
  });

  it('is short', () => {
    expect(statementForm(`select ${'a, '.repeat(100)}`)).toHaveLength(80);
  });
});
