import { ForeshadowError } from '../core/errors.ts';
import { type Check, ok, refuse, warn } from '../migration/preflight/checks.ts';
import { loadTensorflow } from '../model/backend.ts';

/** What TensorFlow.js computes on, and why on nothing faster. */
export async function backendCheck(): Promise<Check> {
  const id = 'model backend';
  try {
    const { name, reason, version } = (await loadTensorflow()).backend;
    const message = `${name}, TensorFlow.js ${version} (${reason})`;
    if (name !== 'cpu') return ok(id, message);
    return warn(id, message, 'Plain JavaScript scores and trains several times slower than wasm does.');
  } catch (error) {
    if (error instanceof ForeshadowError) return refuse(id, error);
    throw error;
  }
}
