import { setTimeout as sleep } from 'node:timers/promises';

const kinds = ['ProcessWrap', 'TCPSocketWrap', 'TCPServerWrap', 'Timeout', 'FSEventWrap', 'Worker'];

/**
 * What keeps this process alive: children, sockets, servers, timers. What was unref'd does not count.
 * For use in a hook: takes off the timer of the hook itself, and gives vitest's other timers and closing sockets a
 * second to go.
 */
export async function openResources(): Promise<string[]> {
  for (let attempt = 0; ; attempt++) {
    const open = process.getActiveResourcesInfo().filter((kind) => kinds.includes(kind));
    const ofHook = open.indexOf('Timeout');
    if (ofHook >= 0) open.splice(ofHook, 1);
    if (open.length === 0 || attempt === 20) return open;
    await sleep(50);
  }
}
