import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Dealer, Subscriber } from 'zeromq';
import { decode, encode, type Message } from './messages.ts';
import type { Output } from './notebook.ts';

export interface Executed {
  readonly ok: boolean;
  readonly count: number;
  readonly outputs: Output[];
}

const startTimeoutMs = 60_000;

/** A Jupyter kernel (tslab) of our own, spoken to as any Jupyter front end does. */
export class Kernel {
  private readonly process: ChildProcess;
  private readonly folder: string;
  private readonly key: string;
  private readonly shell = new Dealer();
  private readonly iopub = new Subscriber();
  private readonly session = randomUUID();
  private readonly ended: Promise<never>;

  private constructor(process: ChildProcess, folder: string, key: string) {
    this.process = process;
    this.folder = folder;
    this.key = key;
    this.ended = once(process, 'exit').then(([code, signal]) => {
      throw new Error(`the kernel has ended (${signal ?? `exit code ${code}`})`);
    });
    this.ended.catch(() => {}); // whoever waits for an answer hears of it
  }

  /**
   * Starts a kernel and waits until it answers.
   * @param directory where its cells run; tslab is looked for there
   */
  static async start(directory: string): Promise<Kernel> {
    const [shell, iopub, control, stdin, hb] = (await freePorts(5)) as [
      number,
      number,
      number,
      number,
      number,
    ];
    const key = randomBytes(16).toString('hex');
    const folder = await mkdtemp(join(tmpdir(), 'foreshadow-kernel-'));
    const config = join(folder, 'connection.json');
    const connection = {
      transport: 'tcp',
      ip: '127.0.0.1',
      key,
      signature_scheme: 'hmac-sha256',
      shell_port: shell,
      iopub_port: iopub,
      control_port: control,
      stdin_port: stdin,
      hb_port: hb,
    };
    await writeFile(config, JSON.stringify(connection), { mode: 0o600 });
    const program = createRequire(join(directory, 'package.json')).resolve('tslab/bin/tslab');
    const child = spawn(process.execPath, [program, 'kernel', `--config-path=${config}`], {
      cwd: directory,
      env: { ...process.env, TZ: 'UTC', NO_COLOR: '1', FORCE_COLOR: '0' },
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    process.once('exit', () => child.kill('SIGKILL')); // it does not notice that nobody asks any more
    const kernel = new Kernel(child, folder, key);
    try {
      kernel.shell.connect(`tcp://127.0.0.1:${shell}`);
      kernel.iopub.connect(`tcp://127.0.0.1:${iopub}`);
      kernel.iopub.subscribe();
      await kernel.becomesReady();
    } catch (error) {
      await kernel.stop();
      throw error;
    }
    return kernel;
  }

  /**
   * Runs a cell to its end.
   * @throws Error when the kernel dies or the time is over; a cell that fails is a result, not an error
   */
  async execute(code: string, timeoutMs: number): Promise<Executed> {
    const content = { code, silent: false, store_history: true, allow_stdin: false, stop_on_error: true };
    const id = await this.send('execute_request', content);
    const outputs: Output[] = [];
    const published = async () => {
      for (;;) {
        const message = await this.receive(this.iopub);
        if (message.parent !== id) continue;
        if (message.type === 'status' && message.content.execution_state === 'idle') return;
        take(message, outputs);
      }
    };
    const answered = async () => {
      for (;;) {
        const message = await this.receive(this.shell);
        if (message.parent === id && message.type === 'execute_reply') return message.content;
      }
    };
    const [reply] = await this.within(timeoutMs, Promise.all([answered(), published()]), 'a cell');
    return { ok: reply.status === 'ok', count: Number(reply.execution_count), outputs };
  }

  async stop(): Promise<void> {
    this.shell.close();
    this.iopub.close();
    if (this.process.exitCode === null && this.process.signalCode === null) {
      const exited = once(this.process, 'exit');
      this.process.kill('SIGKILL'); // it keeps nothing that would have to be saved
      await exited;
    }
    await rm(this.folder, { recursive: true, force: true });
  }

  /** A subscription takes effect some time after it was asked for: ask until an answer comes on both sockets. */
  private async becomesReady(): Promise<void> {
    this.iopub.receiveTimeout = 250;
    const ready = async () => {
      for (;;) {
        const id = await this.send('kernel_info_request', {});
        try {
          for (;;) {
            const message = await this.receive(this.iopub);
            if (message.parent === id && message.content.execution_state === 'idle') return;
          }
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
        }
      }
    };
    await this.within(startTimeoutMs, ready(), 'the kernel’s start');
    this.iopub.receiveTimeout = -1;
  }

  private async within<T>(ms: number, work: Promise<T>, what: string): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`${what} took longer than ${ms / 1000} s`)), ms);
    });
    work.catch(() => {}); // closing the sockets fails it when somebody else was first
    try {
      return await Promise.race([work, timeout, this.ended]);
    } finally {
      clearTimeout(timer);
    }
  }

  private async send(type: string, content: object): Promise<string> {
    const id = randomUUID();
    await this.shell.send(encode(this.key, { id, type, session: this.session, content }));
    return id;
  }

  private async receive(socket: Dealer | Subscriber): Promise<Message> {
    return decode(this.key, (await socket.receive()) as Buffer[]);
  }
}

/** Adds what the kernel publishes; texts of the same stream that follow each other become one. */
function take({ type, content }: Message, outputs: Output[]): void {
  if (type === 'display_data') {
    const { data, metadata } = content as { data: Record<string, string>; metadata: object };
    outputs.push({ output_type: 'display_data', data, metadata });
  } else if (type === 'stream') {
    const { name, text } = content as { name: string; text: string };
    const last = outputs.at(-1);
    if (last?.output_type === 'stream' && last.name === name) last.text += text;
    else outputs.push({ output_type: 'stream', name, text });
  }
}

async function freePorts(n: number): Promise<number[]> {
  const servers: Server[] = [];
  for (let i = 0; i < n; i++) {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    servers.push(server);
  }
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => once(server.close(), 'close')));
  return ports;
}
