import { describe, expect, test } from 'vitest';
import { nodesOf, parseNodeTree, typeOidOf } from '../../src/migration/preflight/node-tree.ts';

const constant = (type: number) =>
  `{CONST :consttype ${type} :constlen -1 :constisnull false :constvalue 4 [ 16 0 -1 0 ]}`;

describe('the stored tree of an expression', () => {
  test('nodes, lists, words and fields of several values', () => {
    const [node] = nodesOf(
      parseNodeTree(`({FUNCEXPR :funcid 1285 :args (${constant(701)} <>) :location -1})`),
    );
    expect(node?.tag).toBe('FUNCEXPR');
    expect(node?.fields.get('funcid')).toBe('1285');
    expect(node?.fields.get('args')).toEqual([expect.objectContaining({ tag: 'CONST' }), '<>']);
    expect(node?.fields.get('location')).toBe('-1');
    const constants = [...nodesOf(node ?? '')].filter(({ tag }) => tag === 'CONST');
    expect(constants[0]?.fields.get('constvalue')).toEqual(['4', '[', '16', '0', '-1', '0', ']']);
  });

  test('words of the user’s that look like something else are words', () => {
    const tree = parseNodeTree(
      String.raw`{RTE :alias :vartype :names ("a\ \{b\}" ":c" "\)" "") :rest \<> :end 1}`,
    );
    const [node, ...others] = nodesOf(tree);
    expect(others).toEqual([]);
    expect([...(node?.fields ?? [])]).toEqual([
      ['alias', ':vartype'],
      ['names', [String.raw`"a\ \{b\}"`, '":c"', String.raw`"\)"`, '""']],
      ['rest', String.raw`\<>`],
      ['end', '1'],
    ]);
  });

  test('a tree that ends too early is an error', () => {
    expect(() => parseNodeTree('{VAR :varno')).toThrow(/too early/);
  });

  test.each([
    ['{VAR :varno 1 :varattno 2 :vartype 701 :vartypmod -1}', 701],
    [`{CASEEXPR :casetype 17 :arg <> :args ({CASEWHEN :expr ${constant(16)} :result ${constant(17)}})}`, 17],
    ['{CASETESTEXPR :typeId 600 :typeMod -1}', 600],
    ['{SUBSCRIPTINGREF :refcontainertype 1017 :refelemtype 600 :refrestype 1017}', 1017],
    ['{SUBSCRIPTINGREF :refcontainertype 1017 :refelemtype 600 :reftypmod -1}', 600], // before PostgreSQL 14
    [`{COLLATEEXPR :arg ${constant(25)} :collOid 950}`, 25],
    ['{JSONEXPR :op 1 :returning {JSONRETURNING :format <> :typid 701}}', 701],
    ['{BOOLEXPR :boolop and :args <>}', null],
  ])('%s has type %s', (text, oid) => {
    const [node] = nodesOf(parseNodeTree(text));
    expect(node && typeOidOf(node)).toBe(oid);
  });
});
