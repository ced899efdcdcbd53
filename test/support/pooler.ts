import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { Client } from 'pg';

export interface PoolerOptions {
  /** when a backend is handed on: after each transaction, or when the client has gone */
  readonly mode: 'transaction' | 'session';
  /** which idle backend comes next: the one used last, or each in its turn */
  readonly next?: 'last' | 'in turn';
  readonly backends: number;
  /** drop the settings that a client connects with */
  readonly dropOptions?: boolean;
}

export interface Pooler {
  /** the database of the server behind it, through it */
  readonly url: string;
  close(): Promise<void>;
}

/** Frontend or backend messages in a stream of bytes: a type, and the length of all but the type. */
class Messages {
  #rest = Buffer.alloc(0);
  *take(bytes: Buffer): Generator<Buffer> {
    this.#rest = Buffer.concat([this.#rest, bytes]);
    while (this.#rest.length >= 5 && this.#rest.length > this.#rest.readInt32BE(1)) {
      const end = 1 + this.#rest.readInt32BE(1);
      yield this.#rest.subarray(0, end);
      this.#rest = this.#rest.subarray(end);
    }
  }
}

const message = (type: string, body: Buffer) => {
  const head = Buffer.alloc(5);
  head.write(type);
  head.writeInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
};
const readyForQuery = message('Z', Buffer.from('I'));
const terminate = message('X', Buffer.alloc(0));
/** authentication ok, a key for cancelling that is nobody's, ready */
const greeting = Buffer.concat([message('R', Buffer.alloc(4)), message('K', Buffer.alloc(8)), readyForQuery]);

interface Backend {
  readonly socket: Socket;
  /** whom it answers now */
  user: Session | null;
}
interface Session {
  readonly socket: Socket;
  readonly options: string;
  readonly waiting: Buffer[];
  backend: Backend | null;
}

/** A connection pooler in front of a real server, as small as can be. */
export async function startPooler(url: string, how: PoolerOptions): Promise<Pooler> {
  const idle: Backend[] = [];
  const queue: Session[] = [];
  const upstream: Client[] = [];
  let turn: Promise<void> = Promise.resolve();

  async function connect(options: string): Promise<Backend> {
    const client = new Client({
      connectionString: url,
      application_name: 'test pooler',
      ...(how.dropOptions ? {} : { options }),
    });
    upstream.push(client);
    client.on('error', () => {});
    await client.connect();
    const { stream: socket } = (client as unknown as { connection: { stream: Socket } }).connection;
    socket.setNoDelay(true);
    socket.removeAllListeners('data');
    const backend: Backend = { socket, user: null };
    const messages = new Messages();
    socket.on('data', (bytes: Buffer) => {
      for (const each of messages.take(bytes)) {
        backend.user?.socket.write(each);
        if (how.mode === 'transaction' && each.equals(readyForQuery)) release(backend);
      }
    });
    return backend;
  }

  function release(backend: Backend): void {
    if (backend.user) backend.user.backend = null;
    backend.user = null;
    idle.push(backend);
    const session = queue.shift();
    if (session) turn = turn.then(() => serve(session));
  }

  async function serve(session: Session): Promise<void> {
    if (!session.backend) {
      while (upstream.length < (how.next === 'in turn' ? how.backends : 0))
        idle.push(await connect(session.options));
      let backend = how.next === 'in turn' ? idle.shift() : idle.pop();
      if (!backend && upstream.length < how.backends) backend = await connect(session.options);
      if (!backend) return void queue.push(session);
      backend.user = session;
      session.backend = backend;
    }
    for (const each of session.waiting.splice(0)) session.backend.socket.write(each);
  }

  const open = new Set<Session>();
  const server = createServer({ noDelay: true }, (socket) => {
    socket.on('error', () => {});
    socket.once('data', (startup: Buffer) => {
      const words = startup.toString('utf8', 8).split('\0');
      const options = words[words.indexOf('options') + 1] ?? '';
      const session: Session = { socket, options, waiting: [], backend: null };
      open.add(session);
      const messages = new Messages();
      socket.on('data', (bytes: Buffer) => {
        for (const each of messages.take(bytes)) if (!each.equals(terminate)) session.waiting.push(each);
        // one after the other: a backend may take a while to be there
        turn = turn.then(() => (session.waiting.length ? serve(session) : undefined));
      });
      socket.on('close', () => {
        open.delete(session);
        if (!session.backend) return;
        // a real one says DISCARD ALL: nothing of a session is left to the next
        if (how.mode === 'session') session.backend.socket.end(terminate);
        else release(session.backend);
      });
      socket.write(greeting);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const through = new URL(url);
  through.host = `127.0.0.1:${(server.address() as { port: number }).port}`;
  return {
    url: through.href,
    close: async () => {
      server.close();
      for (const { socket } of open) socket.destroy();
      await Promise.all(upstream.map((client) => client.end()));
    },
  };
}
