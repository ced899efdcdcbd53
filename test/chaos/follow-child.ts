import { setTimeout as sleep } from 'node:timers/promises';
import { createContext } from '../../src/context.ts';
import { findMigration } from '../../src/migration/status.store.ts';
import { Mining } from '../../src/pipeline/mining.ts';

/** Mines the query log of one migration until somebody ends this process. Says `ready` when it begins. */
const [databaseUrl = '', modelsDir = '', name = ''] = process.argv.slice(2);
const ctx = await createContext({ databaseUrl, modelsDir, logLevel: 'silent' });
const migration = await findMigration(ctx.pool, name);
if (!migration) throw new Error(`there is no migration ${name}`);
const mining = await Mining.open(ctx, migration);
process.stdout.write('ready\n');
for (;;) {
  const { taken, behind } = await mining.step();
  if (taken === 0 && behind === 0) await sleep(20);
}
