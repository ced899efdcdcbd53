import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CsvlogReader } from '../../src/logs/csvlog.ts';
import { detectFormat, isForeign } from '../../src/logs/detect-format.ts';
import type { RecordReader } from '../../src/logs/event.ts';
import { type ExecutedStatement, LogParser } from '../../src/logs/index.ts';
import { JsonlogReader } from '../../src/logs/jsonlog.ts';
import { compileLinePrefix } from '../../src/logs/line-prefix.ts';
import { StderrReader } from '../../src/logs/stderr-log.ts';
import { type LogLine, linePrefix, parametersOf, type WrittenFormat, writers } from '../support/log-lines.ts';

const readers: Readonly<Record<WrittenFormat, () => RecordReader>> = {
  jsonlog: () => new JsonlogReader(),
  csvlog: () => new CsvlogReader(),
  stderr: () => new StderrReader(compileLinePrefix(linePrefix)),
};
const formats = Object.keys(readers) as WrittenFormat[];

/** Feeds the bytes in pieces, as a file is read. */
function readInPieces(reader: RecordReader, bytes: Buffer, piece: number) {
  const parser = new LogParser();
  const out: ExecutedStatement[] = [];
  let held = Buffer.alloc(0);
  for (let at = 0; ; at += piece) {
    const end = at >= bytes.length;
    held = Buffer.concat([held, bytes.subarray(at, at + piece)]);
    const read = parser.feed(held, { reader, rest: end ? 'end' : 'more' }, out);
    expect(read).toBeLessThanOrEqual(held.length);
    if (end) expect(read).toBe(held.length);
    held = held.subarray(read);
    if (end) break;
  }
  parser.flush(out);
  return { out, counters: parser.counters };
}

/** Text as applications write it: with everything in it that one of the formats uses for itself. */
const awkward = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        "'",
        '"',
        '""',
        ',',
        '\n',
        '\t',
        '\r\n',
        ': ',
        'LOG:  ',
        'DETAIL:  ',
        '{',
        '\\',
        '$1',
        '%',
      ),
      fc.constantFrom('é', '😀', '2026-05-01 12:00:00.000 UTC', 'select', ' ', 'statement: ', '...'),
      fc.string({ maxLength: 4 }),
    ),
    { maxLength: 8 },
  )
  // what no text of a client can hold, and what a statement cannot end in without being another one
  .map((parts) => parts.join('').replaceAll('\0', ''));

interface Part {
  readonly session: number;
  readonly text: string;
  readonly params: (string | null)[] | null;
  readonly application: string;
  readonly database: string;
}
interface Made {
  readonly line: LogLine;
  readonly sql: string;
  readonly params: (string | null)[] | null;
}
const made: fc.Arbitrary<Part> = fc.record({
  session: fc.integer({ min: 0, max: 3 }),
  text: awkward,
  params: fc.option(fc.array(fc.option(awkward), { minLength: 1, maxLength: 3 })),
  application: fc.constantFrom('psql', 'my app', 'say "hi"', 'ünï'),
  database: fc.constantFrom('shop', 'sh"op', 'größe'),
});

function toRecords(parts: readonly Part[]): Made[] {
  return parts.map(({ session, text, params, application, database }, k) => {
    const sql = `select ${k} good ${text}`;
    const verb = params ? 'execute <unnamed>' : 'statement';
    return {
      sql,
      params,
      line: {
        at: Date.UTC(2026, 4, 1, 12) + k * 13,
        session: `6b08b1ce.${session}a`,
        pid: 100 + session,
        user: 'app',
        database,
        application,
        severity: 'LOG',
        message: `duration: 0.${k} ms  ${verb}: ${sql}`,
        ...(params && { detail: parametersOf(params) }),
      },
    };
  });
}

/** What the reader has to say of a record. stderr cannot tell a CR before a newline from the newlines of Windows. */
const saidOf = (format: WrittenFormat) => {
  const same = (text: string) => (format === 'stderr' ? text.replace(/\r+(?=\n|$)/g, '') : text);
  return (sql: string, params: readonly (string | null)[] | null, database: string, application: string) =>
    JSON.stringify([same(sql), params?.map((p) => p && same(p)), database, application]);
};

const noise = fc.oneof(
  fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
  fc
    .constantFrom(
      '"',
      '""',
      '","',
      '"\n',
      '\n',
      '\r\n',
      '\n\t',
      '\0\0\0\0',
      '{',
      '}',
      '{"timestamp":',
      ',,,,',
    )
    .map(Buffer.from),
  fc
    .constantFrom('\n2026-05-01 12:00:00.000 UTC', '\nLOG:  x', '2026-05-01 12:00:00.000 UTC,"x"', 'ÿ')
    .map(Buffer.from),
  // the beginning of a record, as a server that was killed leaves it
  fc.tuple(fc.constantFrom(...formats), fc.nat(200)).map(([format, cut]) => {
    const torn = toRecords([
      { session: 9, text: 'torn', params: ['7'], application: 'x', database: 'x' },
    ])[0] as Made;
    return Buffer.from(writers[format](torn.line)).subarray(0, cut);
  }),
);

describe.each(formats)('%s', (format) => {
  const said = saidOf(format);

  test('what was written is read, in whatever pieces it comes', () => {
    fc.assert(
      fc.property(fc.array(made, { maxLength: 12 }), fc.integer({ min: 1, max: 500 }), (parts, piece) => {
        const records = toRecords(parts);
        const bytes = Buffer.from(records.map(({ line }) => writers[format](line)).join(''));
        const { out, counters } = readInPieces(readers[format](), bytes, piece);
        expect(out.map((s) => said(s.sql, s.params, s.database, s.applicationName))).toEqual(
          records.map(({ sql, params, line }) => said(sql, params, line.database, line.application)),
        );
        expect(out.map(({ at }) => at)).toEqual(records.map(({ line }) => line.at / 1000));
        expect(counters).toMatchObject({ malformed: 0, bytes: bytes.length });
      }),
      { numRuns: 400 },
    );
  });

  test('garbage anywhere costs no record but those that it lies in', () => {
    fc.assert(
      fc.property(
        fc.array(made, { minLength: 1, maxLength: 12 }),
        fc.array(fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), noise), { minLength: 1, maxLength: 4 }),
        fc.integer({ min: 20, max: 3000 }),
        (parts, garbage, piece) => {
          const records = toRecords(parts);
          const texts = records.map(({ line }) => Buffer.from(writers[format](line)));
          const clean = Buffer.concat(texts);
          const cuts = garbage.map(([share, bytes]) => ({ at: Math.floor(share * clean.length), bytes }));
          cuts.sort((a, b) => a.at - b.at);
          let from = 0;
          const dirty = Buffer.concat([
            ...cuts.flatMap(({ at, bytes }) => {
              const before = clean.subarray(from, at);
              from = at;
              return [before, bytes];
            }),
            clean.subarray(from),
          ]);
          let start = 0;
          const untouched = records.filter((_, k) => {
            const end = start + (texts[k] as Buffer).length;
            // a line of stderr that comes behind a record may belong to it
            const reach = format === 'stderr' ? end : end - 1;
            const hit = cuts.some(({ at }) => at >= start && at <= reach);
            start = end;
            return !hit;
          });
          const { out } = readInPieces(readers[format](), dirty, piece);
          const found = out.map((s) => said(s.sql, s.params, s.database, s.applicationName));
          const wanted = untouched.map(({ sql, params, line }) =>
            said(sql, params, line.database, line.application),
          );
          // in order, and each once
          expect(found.filter((one) => wanted.includes(one))).toEqual(wanted);
        },
      ),
      { numRuns: 1500 },
    );
  });

  test('no bytes stop it', () => {
    fc.assert(
      fc.property(fc.array(noise, { maxLength: 20 }), fc.integer({ min: 1, max: 100 }), (parts, piece) => {
        readInPieces(readers[format](), Buffer.concat(parts), piece);
      }),
      { numRuns: 500 },
    );
  });
});

test('no beginning of a file stops the search for its format', () => {
  fc.assert(
    fc.property(fc.array(noise, { maxLength: 20 }), (parts) => {
      const sample = Buffer.concat(parts);
      const format = detectFormat(sample.toString('latin1'), {});
      if (format) isForeign(sample, format);
    }),
    { numRuns: 500 },
  );
});
