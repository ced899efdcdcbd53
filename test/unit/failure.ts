import { ForeshadowError } from '../../src/core/errors.ts';

/** The catalogue error that `work` throws. @throws when it throws none, or another */
export function failure(work: () => unknown): ForeshadowError {
  try {
    work();
  } catch (error) {
    if (error instanceof ForeshadowError) return error;
    throw error;
  }
  throw new Error('it was expected to throw, and did not');
}
