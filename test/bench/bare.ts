import { readFileSync } from 'node:fs';
import Fastify from 'fastify';

/** The baseline of the `http` bench: a bare Fastify route that takes the same body and returns the same bytes. */
const bytes = readFileSync(process.argv[2] as string);
const app = Fastify({ bodyLimit: 64 << 20 });
app.post('/api/v1/scores', (_request, reply) => reply.type('application/json; charset=utf-8').send(bytes));
const url = await app.listen({ host: '127.0.0.1', port: 0 });
process.stdout.write(`${JSON.stringify({ url })}\n`);
