import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';

const root = fileURLToPath(new URL('../../../', import.meta.url));

/** One place of the source that a mutant changes: the text must be there exactly once. */
export interface Replacement {
  /** path within src */
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

export interface Build extends AsyncDisposable {
  /** folder of the compiled command line */
  readonly directory: string;
}

/**
 * Compiles a copy of src: compiled, the command line starts in a third of the time, and nothing that happens to the
 * source meanwhile reaches a worker.
 * @throws when a replacement does not match exactly once
 */
export async function build(replacements: readonly Replacement[] = []): Promise<Build> {
  const directory = await mkdtemp(join(tmpdir(), 'foreshadow-chaos-'));
  const dispose = () => rm(directory, { recursive: true, force: true });
  try {
    await cp(join(root, 'src'), join(directory, 'src'), { recursive: true });
    await symlink(join(root, 'node_modules'), join(directory, 'node_modules'));
    await writeFile(join(directory, 'package.json'), '{ "type": "module" }');
    for (const each of replacements) await replace(join(directory, 'src'), each);
    const { compilerOptions } = JSON.parse(await readFile(join(root, 'tsconfig.json'), 'utf8'));
    const options = { ...compilerOptions, noEmit: false, noCheck: true, rootDir: 'src', outDir: 'dist' };
    await writeFile(
      join(directory, 'tsconfig.json'),
      JSON.stringify({ compilerOptions: options, include: ['src'] }),
    );
    const manifest = createRequire(import.meta.url).resolve('typescript/package.json');
    const { bin } = JSON.parse(await readFile(manifest, 'utf8')) as { bin: { tsc: string } };
    await promisify(execFile)(process.execPath, [join(dirname(manifest), bin.tsc), '-p', directory]);
    await cp(join(root, 'src', 'db', 'sql'), join(directory, 'dist', 'db', 'sql'), { recursive: true });
    return { directory, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await dispose();
    throw error;
  }
}

async function replace(source: string, replacement: Replacement): Promise<void> {
  const path = join(source, replacement.file);
  await writeFile(path, replaced(await readFile(path, 'utf8'), replacement));
}

/** The text of a file with one place changed. @throws when that place is not there exactly once */
export function replaced(text: string, { file, from, to }: Replacement): string {
  const found = text.split(from).length - 1;
  if (found !== 1) throw new Error(`${file} holds this ${found} times, not once: ${from}`);
  return text.replace(from, () => to);
}

/** Loads the command line, then waits to be told what to do: so a worker that is wanted starts at once. */
const program = `
const { run } = await import(process.argv[1]);
let text = '';
process.stdin.on('data', async (part) => {
  text += part;
  if (!text.endsWith('\\n')) return;
  process.stdin.unref();
  const { args, env } = JSON.parse(text);
  Object.assign(process.env, env);
  const { exitCode } = await run(['node', 'foreshadow', ...args]);
  process.exitCode = exitCode;
  process.stdin.destroy();
});
process.stdin.on('end', () => process.kill(process.pid, 'SIGKILL'));
`;

export interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

type OnFailpoint = (name: string, action: string) => void;

/** One process of the command line. */
export class Worker {
  readonly #child: ChildProcess;
  readonly #onFailpoint: OnFailpoint;
  readonly ended: Promise<Ending>;
  over = false;
  stopped = false;
  stderr = '';

  constructor(child: ChildProcess, onFailpoint: OnFailpoint) {
    this.#child = child;
    this.#onFailpoint = onFailpoint;
    let line = '';
    child.stderr?.on('data', (part: Buffer) => {
      this.stderr = `${this.stderr}${part}`.slice(-4000);
      line += part;
      for (let end = line.indexOf('\n'); end >= 0; end = line.indexOf('\n')) {
        this.#heard(line.slice(0, end));
        line = line.slice(end + 1);
      }
    });
    child.stdin?.on('error', () => {}); // it has ended
    this.ended = once(child, 'close').then(([code, signal]) => {
      this.over = true;
      return { code, signal } as Ending;
    });
  }

  get pid(): number {
    return this.#child.pid as number;
  }

  #heard(line: string): void {
    const [, name, action] = /^failpoint (\S+): (\w+)$/.exec(line) ?? [];
    if (!name || !action) return;
    if (action === 'stop') this.stopped = true;
    this.#onFailpoint(name, action);
  }

  /** The last thing it has said, for the timeline. */
  get lastWords(): string {
    return this.stderr.trim().split('\n').slice(-3).join(' / ');
  }

  signal(signal: 'SIGKILL' | 'SIGSTOP' | 'SIGCONT'): void {
    if (this.over) return;
    this.stopped = signal === 'SIGSTOP';
    this.#child.kill(signal);
  }

  tell(args: readonly string[], env: Readonly<Record<string, string>>): void {
    this.#child.stdin?.write(`${JSON.stringify({ args, env })}\n`);
  }
}

/** Workers of one build; one more than needed is always loaded. */
export class Workers implements AsyncDisposable {
  readonly #build: Build;
  #spare: ChildProcess | null = null;
  started = 0;

  constructor(made: Build) {
    this.#build = made;
    this.#spare = this.#spawn();
  }

  #spawn(): ChildProcess {
    const main = pathToFileURL(join(this.#build.directory, 'dist', 'cli', 'program.js')).href;
    const { FORESHADOW_FAILPOINTS: _, ...env } = process.env;
    return spawn(process.execPath, ['--input-type=module', '-e', program, main], {
      cwd: root,
      env,
      stdio: ['pipe', 'ignore', 'pipe'],
    });
  }

  start(args: readonly string[], env: Readonly<Record<string, string>>, onFailpoint: OnFailpoint): Worker {
    const worker = new Worker(this.#spare as ChildProcess, onFailpoint);
    this.#spare = this.#spawn();
    this.started += 1;
    worker.tell(args, env);
    return worker;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const spare = this.#spare;
    this.#spare = null;
    if (!spare || spare.exitCode !== null) return;
    const ended = once(spare, 'exit');
    spare.kill('SIGKILL');
    await ended;
  }
}
