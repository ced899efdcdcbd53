import { ForeshadowError } from '../core/errors.ts';
import { codeOf, isConnectionError, sqlstate } from '../db/sqlstate.ts';

/** What goes wrong in HTTP itself, before any of our stages is asked. The rest is in core/errors.ts. */
export const httpProblems = {
  BAD_REQUEST: { http: 400, hint: 'Mend what "errors" names; /openapi.json describes every request.' },
  MALFORMED_JSON: { http: 400, hint: 'Send one JSON document in UTF-8, with content-type application/json.' },
  UNAUTHENTICATED: { http: 401, hint: 'Send a token: Authorization: Bearer SECRET' },
  FORBIDDEN: { http: 403, hint: 'Use a token with the role that the message names.' },
  HOST_REFUSED: {
    http: 403,
    hint: 'Without tokens only this machine may ask, by a name of its own: http://127.0.0.1:PORT.',
  },
  ORIGIN_REFUSED: { http: 403, hint: 'Without tokens pages of other origins may not ask; configure tokens.' },
  ROUTE_UNKNOWN: { http: 404, hint: '/openapi.json lists every route.' },
  JOB_UNKNOWN: { http: 404, hint: 'List the jobs with: GET /api/v1/jobs' },
  MODEL_UNKNOWN: { http: 404, hint: 'List the models with: GET /api/v1/models' },
  METHOD_NOT_ALLOWED: { http: 405, hint: 'The header Allow lists what this route takes.' },
  TIMEOUT: { http: 408, hint: 'Send the whole request at once.' },
  AT_WORK: {
    http: 409,
    hint: 'The first request with this Idempotency-Key is still at work; ask again in a second.',
  },
  TOO_LARGE: { http: 413, hint: 'Send less at a time; /openapi.json names the limits.' },
  URI_TOO_LONG: { http: 414, hint: 'Shorten the path.' },
  MEDIA_TYPE: { http: 415, hint: 'Send content-type: application/json' },
  KEY_REUSED: { http: 422, hint: 'Take a new Idempotency-Key for a new request.' },
  RATE_LIMITED: { http: 429, hint: 'Wait as long as the header Retry-After says.' },
  HEADERS_TOO_LARGE: { http: 431, hint: 'Send fewer or shorter headers.' },
  OVERLOADED: { http: 503, hint: 'Wait as long as the header Retry-After says.' },
  NOT_READY: { http: 503, hint: 'GET /health/ready says what is missing.' },
} as const satisfies Record<string, { http: number; hint: string }>;

export type HttpProblemCode = keyof typeof httpProblems;

/** One fault of a request: where, as a JSON pointer into that part of it, and what. */
export interface Fault {
  readonly in: 'body' | 'query' | 'path' | 'header';
  readonly pointer: string;
  readonly message: string;
}

/** A refusal by HTTP itself. */
export class HttpProblem extends Error {
  readonly code: HttpProblemCode;
  /** Fastify writes to it */
  statusCode: number;
  readonly faults: readonly Fault[] | undefined;
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    code: HttpProblemCode,
    message: string,
    more: { faults?: readonly Fault[]; headers?: Record<string, string> } = {},
  ) {
    super(message);
    this.name = 'HttpProblem';
    this.code = code;
    this.statusCode = httpProblems[code].http;
    this.faults = more.faults;
    this.headers = more.headers ?? {};
  }

  get hint(): string {
    return httpProblems[this.code].hint;
  }
}

/** RFC 9457, with our code and hint. */
export interface ProblemDocument {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly instance: string;
  readonly code: string;
  readonly hint: string;
  readonly errors?: readonly Fault[];
  readonly request_id: string;
}

export const problemType = 'application/problem+json';

/** Fastify's own errors, by its codes. */
const frameworkCodes: Readonly<Record<string, HttpProblemCode>> = {
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'MEDIA_TYPE',
  FST_ERR_CTP_BODY_TOO_LARGE: 'TOO_LARGE',
  FST_ERR_CTP_INVALID_JSON_BODY: 'MALFORMED_JSON',
  FST_ERR_CTP_EMPTY_JSON_BODY: 'MALFORMED_JSON',
  FST_ERR_MAX_PARAM_LENGTH: 'URI_TOO_LONG',
};

/** The error that the client is told of: one of the two catalogues, whatever was thrown. Null: nothing of its concern. */
export function publicError(error: unknown): HttpProblem | ForeshadowError | null {
  // the hint of that code is for the command line
  if (error instanceof ForeshadowError && error.code === 'USAGE')
    return new HttpProblem('BAD_REQUEST', error.message);
  if (error instanceof HttpProblem || error instanceof ForeshadowError) return error;
  const code = codeOf(error) ?? '';
  if (code.startsWith('FST_')) {
    const known = frameworkCodes[code];
    if (known) return new HttpProblem(known, (error as Error).message);
    const status = (error as { statusCode?: number }).statusCode ?? 500;
    return status < 500 ? new HttpProblem('BAD_REQUEST', 'the request cannot be understood') : null;
  }
  if (code === sqlstate.insufficientPrivilege)
    return new ForeshadowError('PRIVILEGE', (error as Error).message, {}, { cause: error });
  if (code === sqlstate.undefinedTable || code === sqlstate.invalidSchemaName) {
    const ours = /\bforeshadow\b/.test((error as Error).message);
    return ours ? new ForeshadowError('NOT_INITIALISED', 'our schema is not in the database') : null;
  }
  if (isConnectionError(error))
    return new ForeshadowError('DATABASE_UNREACHABLE', 'the database cannot be reached just now');
  return null;
}

const unexpected = {
  code: 'UNEXPECTED',
  http: 500,
  detail: 'The request failed for a reason that is ours; the log tells it under this request_id.',
  hint: 'This is a bug. Please report it with the log lines around it.',
};

/** The document for an error, and the headers that go with it. */
export function problemOf(
  error: unknown,
  instance: string,
  requestId: string,
): { document: ProblemDocument; headers: Readonly<Record<string, string>> } {
  const known = publicError(error);
  const code = known?.code ?? unexpected.code;
  const status =
    known instanceof HttpProblem ? httpProblems[known.code].http : (known?.httpStatus ?? unexpected.http);
  const faults = known instanceof HttpProblem ? known.faults : undefined;
  return {
    document: {
      type: `https://foreshadow.dev/problems/${code.toLowerCase().replaceAll('_', '-')}`,
      title: (code.charAt(0) + code.slice(1).toLowerCase()).replaceAll('_', ' '),
      status,
      detail: known?.message ?? unexpected.detail,
      instance,
      code,
      hint: known?.hint ?? unexpected.hint,
      ...(faults ? { errors: faults } : {}),
      request_id: requestId,
    },
    headers: {
      ...(status === 503 ? { 'retry-after': '1' } : {}),
      ...(known instanceof HttpProblem ? known.headers : {}),
    },
  };
}
