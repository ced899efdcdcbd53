import { ForeshadowError } from '../core/errors.ts';
import type { Environment } from './env.ts';

/** What TensorFlow.js can compute on, fastest first. */
export const backendNames = ['tfjs-node', 'wasm', 'cpu'] as const;
export type BackendName = (typeof backendNames)[number];

/**
 * FORESHADOW_BACKEND: the one backend to use.
 * @returns null when none is named, or `auto`: the fastest that can be had
 * @throws ForeshadowError BAD_CONFIG for a name that is none
 */
export function backendOf(env: Environment): BackendName | null {
  const name = env.FORESHADOW_BACKEND ?? '';
  if (name === '' || name === 'auto') return null;
  const known = backendNames.find((one) => one === name);
  if (known) return known;
  throw new ForeshadowError(
    'BAD_CONFIG',
    `FORESHADOW_BACKEND ${JSON.stringify(name)} is none of auto, ${backendNames.join(', ')}`,
  );
}
