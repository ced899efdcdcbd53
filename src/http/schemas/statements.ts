import Type from 'typebox';
import { closed, nullable } from './common.ts';

const count = Type.Integer({ minimum: 0 });
const text = Type.String();
const texts = Type.Array(text);
const share = Type.Number({ minimum: 0, maximum: 1 });
const cost = nullable(Type.Number());

const advice = {
  table: Type.Enum(['source', 'target']),
  sql: Type.String({ description: 'To be run as it is.' }),
  why: Type.Enum(['overlay', 'after the swap']),
};

const statement = Type.Object(
  {
    statement: Type.String({ description: 'Without values.' }),
    executions: count,
    share: Type.Number({ ...share, description: 'Of the executions that name either table.' }),
    kind: text,
    reads: Type.Enum(['source', 'target'], { description: 'Which name it uses today.' }),
    cost: Type.Object({ source: cost, overlay: cost, target: cost }, closed),
    slow_on_overlay: nullable(text),
    slow_after_swap: nullable(text),
    translated: Type.Boolean(),
    not_for_overlay: texts,
    error_on_overlay: nullable(text),
    error_after_swap: nullable(text),
    prepared_breaks: Type.Boolean(),
    types: texts,
    advice: Type.Array(Type.Object(advice, closed)),
    remark: nullable(text),
  },
  closed,
);

export const Statements = Type.Object(
  {
    schema: Type.Literal(1),
    log: Type.Object(
      { statements: count, executions: count, shapes: count, elsewhere: count, unparsed: count },
      closed,
    ),
    tried_on: Type.Object({ rows: count, sampled: Type.Boolean(), overlay: Type.Boolean() }, closed),
    statements: Type.Array(statement),
    indexes: Type.Array(
      Type.Object(
        { ...advice, helps: Type.Array(count, { description: 'Numbers of statements, from 0.' }) },
        closed,
      ),
    ),
    serializable: Type.Object({ executions: count, share, defaults: texts }, closed),
  },
  {
    ...closed,
    $id: 'Statements',
    description:
      "What would become of the application's own statements, on the overlay and at the swap: the document of doctor --statements.",
  },
);
