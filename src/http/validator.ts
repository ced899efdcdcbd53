import type { FastifyRequest, FastifySchemaCompiler } from 'fastify';
import type { TSchema } from 'typebox';
import Compile from 'typebox/compile';
import { type Fault, HttpProblem } from './problems.ts';

const parts: Readonly<Record<string, Fault['in']>> = {
  body: 'body',
  querystring: 'query',
  params: 'path',
  headers: 'header',
};
const mostFaults = 20;

export type ValidatedPart = Parameters<FastifySchemaCompiler<TSchema>>[0];

/**
 * TypeBox for every part of a request. A body is taken as it is or refused: nothing is converted, defaulted or dropped.
 * Query strings hold only texts, so those are converted, and defaults filled in.
 */
export const validatorCompiler: FastifySchemaCompiler<TSchema> = ({ schema, httpPart = 'body' }) => {
  const validator = Compile(schema);
  const where = parts[httpPart] ?? 'body';
  return (data: unknown) => {
    const value = where === 'query' ? validator.Convert(validator.Default(structuredClone(data))) : data;
    if (validator.Check(value)) return { value };
    return { error: refusal(where, validator.Errors(value)) };
  };
};

type Errors = ReturnType<ReturnType<typeof Compile>['Errors']>;

/** One sentence, and each fault by itself. */
function refusal(where: Fault['in'], errors: Errors): HttpProblem {
  const faults = new Map<string, Fault>();
  for (const { keyword, instancePath, message, params } of errors) {
    const unknown = (params as { additionalProperties?: readonly string[] }).additionalProperties;
    // An unknown field is told twice, and the other time only as "schema is false".
    if (keyword === 'boolean') continue;
    const text =
      keyword === 'additionalProperties' && unknown ? `has unknown fields: ${unknown.join(', ')}` : message;
    const fault = { in: where, pointer: instancePath, message: text };
    faults.set(JSON.stringify(fault), fault);
  }
  const all = [...faults.values()].slice(0, mostFaults);
  const first = all[0];
  const what = first ? `${first.pointer || 'it'} ${first.message}` : 'it is not what it should be';
  return new HttpProblem('BAD_REQUEST', `the request's ${where}: ${what}`, { faults: all });
}

/** For routes whose path says everything: an empty object is taken too, since some clients always send one. */
export async function requireNoBody({ body }: FastifyRequest): Promise<void> {
  if (body === undefined || (typeof body === 'object' && body !== null && Object.keys(body).length === 0))
    return;
  throw new HttpProblem('BAD_REQUEST', "the request's body: this route takes none", {
    faults: [{ in: 'body', pointer: '', message: 'this route takes no body' }],
  });
}
