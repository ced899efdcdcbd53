import { seededRng } from '../core/rng.ts';
import type { FromApplication, ToApplication } from './messages.ts';
import { Shop } from './shop.ts';

/**
 * The demo's live application, in a process of its own: `application.ts` forks this file. It knows nothing of
 * foreshadow but the function that tells where to read and write.
 */
let shop: Shop | null = null;

const tell = (message: FromApplication) => {
  if (process.connected) process.send?.(message);
};

async function hear(message: ToApplication): Promise<void> {
  if (message.type === 'start') {
    const { url, migration, record, seed, rate, day } = message;
    shop = new Shop({ url, migration, record, rate, day, rng: seededRng(seed) });
    await shop.open();
    tell({ type: 'running', at: Date.now() / 1000 });
    const beats = setInterval(() => tell({ type: 'beat', ...shop!.tally() }), 1000);
    beats.unref();
  } else if (shop) {
    tell({ type: 'summary', summary: await shop.close() });
  }
}

process.on('message', (message: ToApplication) => {
  hear(message).catch((error: Error) => tell({ type: 'failed', message: error.stack ?? error.message }));
});
// Ctrl-C on a terminal reaches every process of the group; this one is told by its parent when to stop.
process.on('SIGINT', () => {});
process.on('disconnect', () => {
  // with nobody left to tell, what a lost server may keep hanging is not waited for
  process.kill(process.pid, 'SIGKILL');
});
