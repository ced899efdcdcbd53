import { startEmbedded } from '../../src/db/embedded.ts';

/** A process of its own for test/db/embedded.test.ts: starts a server, says where, and then ends as it is told. */
const server = await startEmbedded();
process.stdout.write(`${JSON.stringify({ url: server.url, dataDirectory: server.dataDirectory })}\n`);
switch (process.argv[2]) {
  case 'stop':
    await server.stop();
    break;
  case 'wait':
    setInterval(() => {}, 1_000);
    break;
  case 'forget':
    break; // the server must not keep this process alive
}
