import type { ServerResponse } from 'node:http';
import type { Pool } from 'pg';
import type { Clock } from '../core/clock.ts';
import { eventsAfter } from '../migration/events.queries.ts';
import { describeMigration, type StatusDocument } from '../migration/status.ts';

const page = 200;

/** How often a stream looks, and speaks; ms. */
export interface Pace {
  readonly look: number;
  readonly heartbeat: number;
}
export const usualPace: Pace = { look: 500, heartbeat: 15_000 };

/** Status documents for all streams: each migration is asked about once a second, however many listen. */
export class StatusFeed {
  readonly #pool: Pool;
  readonly #latest = new Map<string, { at: number; document: Promise<StatusDocument> }>();

  constructor(pool: Pool) {
    this.#pool = pool;
  }

  of(name: string): Promise<StatusDocument> {
    const known = this.#latest.get(name);
    const now = performance.now();
    if (known && now - known.at < 1000) return known.document;
    const document = describeMigration(this.#pool, name);
    document.catch(() => this.#latest.delete(name));
    this.#latest.set(name, { at: now, document });
    return document;
  }
}

/**
 * Writes a migration's events to a response until the signal says stop: recorded ones with their cursor as id, so that
 * a client that comes back has each exactly once; and, without an id, what the status document has become.
 */
export async function streamEvents(
  out: ServerResponse,
  from: { pool: Pool; clock: Clock; feed: StatusFeed; id: number; name: string; after: string | null },
  signal: AbortSignal,
  pace: Pace = usualPace,
): Promise<void> {
  const { pool, clock, feed, id, name } = from;
  let cursor = from.after;
  let lastStatus = '';
  let statusAt = Number.NEGATIVE_INFINITY;
  let spokenAt = performance.now();
  const say = async (text: string) => {
    spokenAt = performance.now();
    if (!out.write(text)) await drained(out, signal);
  };
  await say('retry: 2000\n\n');
  while (!signal.aborted) {
    const events = await eventsAfter(pool, id, cursor, page);
    for (const { cursor: at, kind, ...data } of events) {
      await say(`id: ${at}\nevent: ${kind}\ndata: ${JSON.stringify(data)}\n\n`);
      cursor = at;
      if (signal.aborted) return;
    }
    if (events.length === page) continue;
    if (performance.now() - statusAt >= 1000) {
      statusAt = performance.now();
      const status = JSON.stringify(await feed.of(name));
      if (status !== lastStatus) await say(`event: snapshot\ndata: ${status}\n\n`);
      lastStatus = status;
    }
    if (performance.now() - spokenAt >= pace.heartbeat) await say(': still here\n\n');
    await clock.sleep(pace.look, signal);
  }
}

/** A client that does not read is waited for; the idle timeout of the connection ends it if it never does. */
function drained(out: ServerResponse, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      out.off('drain', done);
      out.off('close', done);
      signal.removeEventListener('abort', done);
      resolve();
    };
    out.once('drain', done);
    out.once('close', done);
    signal.addEventListener('abort', done, { once: true });
    if (signal.aborted) done();
  });
}
