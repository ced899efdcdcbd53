import { createHash, type Hash } from 'node:crypto';
import type { CalendarEvent } from '../calendar/index.ts';
import { ForeshadowError } from '../core/errors.ts';
import type { KeyId } from '../core/key.ts';
import { type FeatureSpec, featureSpecHash } from './spec.ts';

/** What a feature engine remembers, as plain data: a copy, which later events do not change. */
export interface EngineSnapshot {
  readonly specHash: string;
  /** time of the earliest event, seconds; Infinity before the first */
  readonly startedAt: number;
  /** by slot */
  readonly keys: readonly KeyId[];
  /** by slot, as in {@link RowLayout} */
  readonly rows: Float64Array;
  readonly groups: GroupsSnapshot;
}

/** What it remembers about groups, by their number; `counters` and `hours` have several entries a group. */
export interface GroupsSnapshot {
  readonly names: readonly string[];
  readonly counters: Float64Array;
  readonly organic: Float64Array;
  readonly lastAt: Float64Array;
  readonly totals: Float64Array;
  readonly hours: Float32Array;
  /** accesses during each event of the calendar */
  readonly during: readonly { readonly event: CalendarEvent; readonly accesses: number }[];
}

/*
 * magic, length of the header (u32), header (JSON), SHA-256 of these; the sections; SHA-256 of the sections.
 * Numbers are little-endian, as on every machine that Node.js runs on.
 */
const MAGIC = Buffer.from('foreshadow engine\n');
const VERSION = 1;
const HASH_BYTES = 32;
const MOST_HEADER_BYTES = 2 ** 28;
/** Keys that are encoded at once. */
const KEYS_A_CHUNK = 65_536;

interface Header {
  readonly version: typeof VERSION;
  readonly spec: string;
  /** null: Infinity */
  readonly startedAt: number | null;
  readonly names: readonly string[];
  readonly during: GroupsSnapshot['during'];
  /** bytes of each section, in order */
  readonly sections: Readonly<Record<SectionName, number>>;
}

const sectionNames = [
  'rows',
  'counters',
  'organic',
  'lastAt',
  'totals',
  'hours',
  'keyLengths',
  'keys',
] as const;
type SectionName = (typeof sectionNames)[number];

/** The snapshot's file, in chunks; the arrays are not copied. */
export function* writeSnapshot(snapshot: EngineSnapshot): Generator<Uint8Array> {
  const { specHash, startedAt, keys, rows, groups } = snapshot;
  const { names, during, ...arrays } = groups;
  const keyLengths = Uint32Array.from(keys, (key) => Buffer.byteLength(key));
  const sizes = { rows, ...arrays, keyLengths };
  const keyBytes = keyLengths.reduce((sum, length) => sum + length, 0);
  const sections = Object.fromEntries(
    sectionNames.map((name) => [name, name === 'keys' ? keyBytes : sizes[name].byteLength]),
  ) as Header['sections'];
  const header: Header = {
    version: VERSION,
    spec: specHash,
    startedAt: Number.isFinite(startedAt) ? startedAt : null,
    names,
    during,
    sections,
  };
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(json.length);
  const head = Buffer.concat([MAGIC, length, json]);
  yield head;
  yield createHash('sha256').update(head).digest();
  const hash = createHash('sha256');
  const hashed = (chunk: Uint8Array) => {
    hash.update(chunk);
    return chunk;
  };
  for (const name of sectionNames) {
    if (name !== 'keys') {
      for (const part of parts(bytesOf(sizes[name]))) yield hashed(part);
      continue;
    }
    for (let i = 0; i < keys.length; i += KEYS_A_CHUNK) {
      yield hashed(Buffer.from(keys.slice(i, i + KEYS_A_CHUNK).join('')));
    }
  }
  yield hash.digest();
}

/**
 * Reads what {@link writeSnapshot} wrote.
 * @param chunks of any size
 * @throws ForeshadowError SNAPSHOT_REFUSED when it is of another version or feature spec, cut off, longer than it
 *   should be, or changed in any bit
 */
export async function readSnapshot(
  spec: FeatureSpec,
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): Promise<EngineSnapshot> {
  const reader = new Reader(chunks);
  const magic = await reader.take(MAGIC.length);
  if (!MAGIC.equals(magic)) throw refused('it is not the snapshot of a feature engine');
  const length = await reader.take(4);
  const headerBytes = Buffer.from(length).readUInt32LE();
  if (headerBytes > MOST_HEADER_BYTES) throw refused('its header is damaged');
  const json = await reader.take(headerBytes);
  const hash = createHash('sha256').update(magic).update(length).update(json);
  await reader.check(hash, 'its header is damaged');
  const header = JSON.parse(Buffer.from(json).toString()) as Header;
  if (header.version !== VERSION) {
    throw refused(`it has the version ${header.version}, and this program reads ${VERSION}`);
  }
  if (header.spec !== featureSpecHash(spec)) {
    throw refused('it was made with other features than these', {
      snapshot: header.spec,
      engine: featureSpecHash(spec),
    });
  }

  const content = createHash('sha256');
  const read = new Map<SectionName, ArrayBuffer>();
  for (const name of sectionNames) {
    const bytes = new ArrayBuffer(header.sections[name]);
    for (const part of parts(new Uint8Array(bytes))) {
      await reader.fill(part);
      content.update(part);
    }
    read.set(name, bytes);
  }
  await reader.check(content, 'its content is damaged');
  await reader.end();

  const numbers = (name: SectionName) => new Float64Array(read.get(name)!);
  return {
    specHash: header.spec,
    startedAt: header.startedAt ?? Number.POSITIVE_INFINITY,
    keys: keysOf(new Uint32Array(read.get('keyLengths')!), Buffer.from(read.get('keys')!)),
    rows: numbers('rows'),
    groups: {
      names: header.names,
      counters: numbers('counters'),
      organic: numbers('organic'),
      lastAt: numbers('lastAt'),
      totals: numbers('totals'),
      hours: new Float32Array(read.get('hours')!),
      during: header.during,
    },
  };
}

export const refused = (why: string, detail: Record<string, unknown> = {}) =>
  new ForeshadowError('SNAPSHOT_REFUSED', `the snapshot cannot be used: ${why}`, detail);

function keysOf(lengths: Uint32Array, bytes: Buffer): KeyId[] {
  let at = 0;
  return Array.from(lengths, (length) => bytes.toString('utf8', at, (at += length)));
}

const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);

/** In pieces that hashes and files can take. */
function* parts(bytes: Uint8Array): Generator<Uint8Array> {
  const most = 2 ** 26;
  for (let at = 0; at < bytes.length; at += most) yield bytes.subarray(at, at + most);
}

/** Cuts a stream into pieces of the lengths asked for. */
class Reader {
  readonly #chunks: AsyncIterator<Uint8Array> | Iterator<Uint8Array>;
  #chunk: Uint8Array = new Uint8Array(0);

  constructor(chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>) {
    this.#chunks =
      Symbol.asyncIterator in chunks ? chunks[Symbol.asyncIterator]() : chunks[Symbol.iterator]();
  }

  async fill(target: Uint8Array): Promise<void> {
    for (let at = 0; at < target.length; ) {
      if (!(await this.#more())) throw refused('it is cut off');
      const part = this.#chunk.subarray(0, target.length - at);
      target.set(part, at);
      at += part.length;
      this.#chunk = this.#chunk.subarray(part.length);
    }
  }

  async take(bytes: number): Promise<Uint8Array> {
    const taken = new Uint8Array(bytes);
    await this.fill(taken);
    return taken;
  }

  async check(hash: Hash, complaint: string): Promise<void> {
    const expected = await this.take(HASH_BYTES);
    if (!hash.digest().equals(expected)) throw refused(complaint);
  }

  async end(): Promise<void> {
    if (await this.#more()) throw refused('something follows its end');
  }

  /** Whether there is another byte. */
  async #more(): Promise<boolean> {
    while (this.#chunk.length === 0) {
      const next = await this.#chunks.next();
      if (next.done) return false;
      this.#chunk = next.value;
    }
    return true;
  }
}
