import { createRequire } from 'node:module';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';

/**
 * Starts a file of ours as a worker thread: the compiled one, or the source as tsx runs it; a thread does not inherit
 * tsx.
 * @param file its URL, with the extension that the caller itself has
 * @param name shown by debuggers
 */
export function startWorkerThread(file: URL, name: string, workerData?: unknown): Worker {
  const options = { workerData, name, execArgv: [] };
  if (fileURLToPath(file).endsWith('.js')) return new Worker(file, options);
  const tsx = new URL('./esm/api/index.mjs', pathToFileURL(createRequire(import.meta.url).resolve('tsx')));
  const source = `import(${JSON.stringify(tsx)}).then(({ register }) => { register(); return import(${JSON.stringify(file)}); })`;
  return new Worker(source, { ...options, eval: true });
}
