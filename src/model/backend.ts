import { createRequire } from 'node:module';
import { dirname, join, sep } from 'node:path';
import type * as Core from '@tensorflow/tfjs-core';
import type * as Layers from '@tensorflow/tfjs-layers';
import { type BackendName, backendNames, backendOf } from '../config/backend.ts';
import { readEnvironment } from '../config/env.ts';
import { ForeshadowError } from '../core/errors.ts';

/** TensorFlow.js as everything else uses it: nothing but this file may import a tfjs package at run time. */
export interface Tensorflow {
  readonly tf: typeof Core;
  readonly layers: typeof Layers;
  readonly backend: BackendInfo;
}

export interface BackendInfo {
  readonly name: BackendName;
  /** why this one runs, and why no faster one does */
  readonly reason: string;
  readonly version: string;
}

let chosen: BackendName | null | undefined;
let loaded: Promise<Tensorflow> | undefined;

/**
 * Names the backend of this process, over FORESHADOW_BACKEND; null: the fastest that can be had.
 * @throws ForeshadowError BAD_CONFIG when another one was chosen and runs already
 */
export function chooseBackend(name: BackendName | null): void {
  if (loaded && name !== choice())
    throw new ForeshadowError('BAD_CONFIG', `the backend cannot become ${name ?? 'auto'}: another one runs`);
  chosen = name;
}

const choice = () => (chosen === undefined ? backendOf(readEnvironment()) : chosen);

/**
 * Loads TensorFlow.js once per process, on one thread: tfjs-node when it is installed and works, else WebAssembly,
 * else plain JavaScript; or the one that was chosen. Two entries loaded side by side would register two engines, hence
 * the single place.
 * @throws ForeshadowError BAD_CONFIG when the chosen backend cannot be had
 */
export function loadTensorflow(): Promise<Tensorflow> {
  loaded ??= load();
  return loaded;
}

async function load(): Promise<Tensorflow> {
  const wanted = choice();
  const missing: string[] = [];
  for (const name of wanted ? [wanted] : backendNames) {
    const found = await starters[name]();
    if (typeof found === 'string') {
      missing.push(found);
      continue;
    }
    const reason = wanted
      ? `chosen by FORESHADOW_BACKEND`
      : missing.join('; ') || 'the fastest; it is installed and works';
    return { ...found, backend: { name, reason, version: found.tf.version_core } };
  }
  const message = `the backend ${wanted ?? 'auto'} of FORESHADOW_BACKEND cannot be had: ${missing.join('; ')}`;
  throw new ForeshadowError('BAD_CONFIG', message, { backend: wanted });
}

type Started = Omit<Tensorflow, 'backend'>;

/** Each gives TensorFlow.js on this backend, or says why it cannot be had. */
const starters: Readonly<Record<BackendName, () => Promise<Started | string>>> = {
  'tfjs-node': startNative,
  wasm: async () => {
    const started = await portable();
    return (await startWasm(started.tf)) ?? started;
  },
  cpu: async () => {
    const started = await portable();
    await import('@tensorflow/tfjs-backend-cpu');
    return (await started.tf.setBackend('cpu')) ? started : 'the cpu backend did not start';
  },
};

/** TensorFlow.js without a backend. */
async function portable(): Promise<Started> {
  const tf = await import('@tensorflow/tfjs-core');
  const layers = await import('@tensorflow/tfjs-layers');
  // Silences the advice to install tfjs-node and skips argument checks; stdout and stderr are ours.
  tf.enableProdMode();
  return { tf, layers };
}

async function startNative(): Promise<Started | string> {
  // Its addon calls a util function that Node 23 removed, and only fails at the first operation.
  if (Number(process.versions.node.split('.')[0]) >= 23)
    return 'tfjs-node does not work on Node 23 and later';
  const entry: string = '@tensorflow/tfjs-node';
  try {
    const union = (await import(entry)) as typeof Core & typeof Layers & { default?: unknown };
    const both = (union.default ?? union) as typeof Core & typeof Layers;
    both.enableProdMode();
    await both.ready();
    // An addon that loads and cannot compute is as good as none.
    const sum = both.tidy(() => both.add(1, 1).dataSync()[0]);
    return sum === 2 ? { tf: both, layers: both } : `tfjs-node does not compute: 1 + 1 = ${sum}`;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const missing = code === 'ERR_MODULE_NOT_FOUND' && message.includes(entry);
    return missing ? 'tfjs-node is not installed' : `tfjs-node does not load: ${firstLine(error)}`;
  }
}

/** Starts the WebAssembly backend. @returns undefined, or why it cannot be had */
async function startWasm(tf: typeof Core): Promise<string | undefined> {
  try {
    const wasm = await import('@tensorflow/tfjs-backend-wasm');
    const main = createRequire(import.meta.url).resolve('@tensorflow/tfjs-backend-wasm');
    wasm.setWasmPaths(join(dirname(main), sep));
    wasm.setThreadsCount(1);
    const before = handlers();
    const started = await tf.setBackend('wasm');
    removeAddedSince(before);
    return started ? undefined : 'the WebAssembly backend did not start';
  } catch (error) {
    return `the WebAssembly backend does not load: ${firstLine(error)}`;
  }
}

const fatal = ['uncaughtException', 'unhandledRejection'] as const;
const handlers = () =>
  fatal.map((event) => new Set<unknown>(process.listeners(event as 'uncaughtException')));

/**
 * The WebAssembly glue installs process-wide handlers that rethrow whatever arrives: every crash of the process would
 * print its whole source, and the process's own handlers could no longer decide what a rejection means.
 */
function removeAddedSince(before: readonly Set<unknown>[]): void {
  fatal.forEach((event, i) => {
    for (const listener of process.listeners(event as 'uncaughtException')) {
      if (!before[i]!.has(listener)) process.removeListener(event, listener);
    }
  });
}

const firstLine = (error: unknown): string => String((error as Error).message ?? error).split('\n', 1)[0]!;
