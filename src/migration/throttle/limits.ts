import { type MigrationFile, seconds } from '../../config/migration-file.ts';
import type { Knobs } from '../../config/throttle-settings.ts';
import type { Pace } from '../../sync/pacing.ts';
import type { Drive } from './drive.ts';
import type { Limits } from './rules.ts';

/** The limits of the moment: what the operator has turned, else what the migration file says. */
export interface Settings {
  readonly limits: Limits;
  readonly chunkMs: number;
  readonly rowsPerSecond: number | null;
}

const unless = <T, R>(value: T | 'none', of: (value: T) => R): R | null =>
  value === 'none' ? null : of(value as T);
const same = <T>(value: T) => value;

export function settingsOf(file: MigrationFile, knobs: Knobs): Settings {
  const { maxLag, maxSlotWal, maxActive, maxWalRate, checkpointEvery, maxLatency } = {
    ...file.throttle,
    ...knobs,
  };
  return {
    limits: {
      maxLag: unless(maxLag, seconds),
      maxSlotWal: unless(maxSlotWal, same),
      maxActive: unless(maxActive, same),
      maxWalRate: unless(maxWalRate, same),
      checkpointEvery: unless(checkpointEvery, seconds),
      maxLatency: unless(maxLatency, same),
    },
    chunkMs: 1000 * seconds(knobs.chunkTime ?? file.copy.chunkTime),
    rowsPerSecond: unless(knobs.rowsPerSecond ?? file.copy.rowsPerSecond ?? 'none', same),
  };
}

/** Shorter chunks too while the copy is held back: what waits behind one waits for less. */
export function paceOf({ share }: Drive, { chunkMs, rowsPerSecond }: Settings): Pace {
  return { share, chunkMs: Math.max(Math.min(5, chunkMs), chunkMs * (0.2 + 0.8 * share)), rowsPerSecond };
}
