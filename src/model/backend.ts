import { createRequire } from 'node:module';
import { dirname, join, sep } from 'node:path';
import type * as Core from '@tensorflow/tfjs-core';
import type * as Layers from '@tensorflow/tfjs-layers';

export type BackendName = 'tfjs-node' | 'wasm' | 'cpu';

/** TensorFlow.js as everything else uses it: nothing but this file may import a tfjs package at run time. */
export interface Tensorflow {
  readonly tf: typeof Core;
  readonly layers: typeof Layers;
  readonly backend: BackendInfo;
}

export interface BackendInfo {
  readonly name: BackendName;
  /** why this one runs and not a faster one */
  readonly reason: string;
  readonly version: string;
}

let loaded: Promise<Tensorflow> | undefined;

/**
 * Loads TensorFlow.js once per process, on one thread: tfjs-node when it is installed and works, else WebAssembly,
 * else plain JavaScript. Two entries loaded side by side would register two engines, hence the single place.
 */
export function loadTensorflow(): Promise<Tensorflow> {
  loaded ??= load();
  return loaded;
}

async function load(): Promise<Tensorflow> {
  const native = await loadNative();
  if (typeof native !== 'string') return native;
  const tf = await import('@tensorflow/tfjs-core');
  const layers = await import('@tensorflow/tfjs-layers');
  // Silences the advice to install tfjs-node and skips argument checks; stdout and stderr are ours.
  tf.enableProdMode();
  const version = tf.version_core;
  const wasm = await startWasm(tf);
  if (wasm === undefined) return { tf, layers, backend: { name: 'wasm', reason: native, version } };
  await import('@tensorflow/tfjs-backend-cpu');
  await tf.setBackend('cpu');
  return { tf, layers, backend: { name: 'cpu', reason: `${native}; ${wasm}`, version } };
}

/** The native backend, or why it cannot be had. */
async function loadNative(): Promise<Tensorflow | string> {
  // Its addon calls a util function that Node 23 removed, and only fails at the first operation.
  if (Number(process.versions.node.split('.')[0]) >= 23)
    return 'tfjs-node does not work on Node 23 and later';
  const entry: string = '@tensorflow/tfjs-node';
  try {
    const union = (await import(entry)) as typeof Core & typeof Layers & { default?: unknown };
    const both = (union.default ?? union) as typeof Core & typeof Layers;
    both.enableProdMode();
    await both.ready();
    const backend = {
      name: 'tfjs-node',
      reason: 'tfjs-node is installed',
      version: both.version_core,
    } as const;
    return { tf: both, layers: both, backend };
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ERR_MODULE_NOT_FOUND';
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
