import { type Pressure, type Source, strongest } from './rules.ts';

/** How hard the copy is driven, and by what it is held back. */
export interface Drive {
  /** share of their time that lanes may copy */
  readonly share: number;
  /** what holds it back; null at full speed */
  readonly source: Source | null;
  readonly reason: string | null;
  /** it stays where it is, or falls; else it rises by itself */
  readonly held: boolean;
  /** the share that it may rise to, by what is known now: where a rate that grows with the share comes to its limit */
  readonly most: number;
}

export const unbridled: Drive = { share: 1, source: null, reason: null, held: false, most: 1 };

/**
 * A copy begins gently, and is at full speed in ten seconds if nobody minds: what it does to others is felt only later. (At a
 * quarter of full speed it had written WAL at twice its limit before the first look at that.)
 */
export const beginning: Drive = {
  share: 0.1,
  source: null,
  reason: 'the copy begins gently: 10 % of full speed, and rising',
  held: false,
  most: 1,
};

/** Below this share of every limit the copy speeds up; between it and the limit it stays as it is, so nothing swings. */
export const ease = 0.8;
/** At this many times a limit the copy stops. */
export const hold = 2;
/** What only slows the copy down leaves it this share: a copy that never ends is no help to anybody. */
export const floor = 0.02;

/**
 * The next drive: the strongest wish wins. Over the limit the share falls in proportion, by half at most; with room it
 * grows by a quarter, a twentieth of full speed at most; so it falls within a second and comes back within ten or so.
 * In proportion to the share at which the pressure was measured: what was taken over seconds says nothing yet of what the
 * copy is slowed down to by now, and slowing it down again for the same reason would bring it to a halt.
 */
export function nextDrive(before: Drive, found: readonly Pressure[]): Drive {
  const holder = strongest(
    found.filter(({ mayHold, value }) => mayHold && value >= (before.share === 0 ? ease : hold)),
  );
  if (holder)
    return { share: 0, source: holder.source, reason: `held: ${holder.reason}`, held: true, most: 0 };
  const share = Math.max(floor, before.share);
  const most = strongest(found);
  if (most && most.value > 1) {
    const slower = Math.max(floor, share / 2, Math.min(share, ...found.map((each) => fitting(share, each))));
    const reason = slowed(slower, most.reason);
    return { share: slower, source: most.source, reason, held: true, most: slower };
  }
  if (most && most.value >= ease)
    return share < 1
      ? { share, source: most.source, reason: slowed(share, most.reason), held: true, most: share }
      : unbridled;
  const bearable = Math.min(1, ...found.map(({ value, over, grows }) => (grows && over ? over / value : 1)));
  const faster = Math.max(share, Math.min(rise(share), bearable));
  if (faster === 1) return unbridled;
  const reason = `${percent(faster)} of full speed, and rising`;
  return { share: faster, source: before.source, reason, held: false, most: Math.max(faster, bearable) };
}

/** The share that this pressure calls for. What does not grow in proportion is halved at most, and measured anew. */
function fitting(share: number, { value, over = share, grows }: Pressure): number {
  if (value <= 1) return share;
  return grows ? over / value : over * Math.max(0.5, 1 / value);
}

/** How fast it lets go, at each look. */
export const rise = (share: number) => Math.min(1, share + Math.min(0.05, Math.max(0.01, share / 4)));

const percent = (share: number) => `${Math.round(share * 100)} %`;
const slowed = (share: number, reason: string) => `slowed to ${percent(share)}: ${reason}`;
