import { setTimeout as sleep } from 'node:timers/promises';
import pino from 'pino';
import type { Context } from '../../src/context.ts';
import { systemClock } from '../../src/core/clock.ts';
import { createPool } from '../../src/db/pool.ts';
import { getMigration } from '../../src/migration/status.store.ts';
import { Mining } from '../../src/pipeline/mining.ts';

/**
 * Mines the query logs of some migrations until somebody ends this process. Says `ready` when it begins.
 * A whole context would load TensorFlow twenty times over; mining needs a pool and a clock.
 */
const [url = '', ...names] = process.argv.slice(2);
const pool = createPool({ url, applicationName: 'foreshadow', log: pino({ level: 'silent' }) });
const ctx = { pool, clock: systemClock } as Context;
const all = await Promise.all(names.map(async (name) => Mining.open(ctx, await getMigration(pool, name))));
process.stdout.write('ready\n');
for (;;) {
  let idle = true;
  for (const mining of all) {
    const { taken, behind } = await mining.step();
    if (taken > 0 || behind > 0) idle = false;
  }
  if (idle) await sleep(20);
}
