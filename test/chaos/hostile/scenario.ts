import { type Failpoint, failpoints } from '../../../src/core/failpoint.ts';
import { type Rng, seededRng } from '../../../src/core/rng.ts';
import { type Shape, shapes } from './shapes.ts';

export interface Attack {
  readonly failpoint: Failpoint;
  readonly action: 'kill' | 'stop' | 'error' | 'sleep(150)';
  readonly hit: number;
}

/** What happens after the write cutover, where the seed does not end with it. */
export interface Afterwards {
  readonly ends: 'rolled back' | 'finalized';
  /** how long the old table is kept in step, ms */
  readonly window: number;
  /** on the process that keeps it in step */
  readonly attacks: readonly Attack[];
  /** on the process that ends it */
  readonly ending: readonly Attack[];
  /** whoever keeps the old table in step lives on while it is rolled back; else it dies, and changes wait */
  readonly keeps: boolean;
  /** the server goes down as in a power cut, meanwhile */
  readonly restart: boolean;
}

/** Everything that a seed decides. What the server's scheduler decides is not replayed, so a seed may need a second try. */
export interface Scenario {
  readonly seed: number;
  readonly shape: Shape;
  readonly rows: number;
  readonly chunkRows: number;
  readonly rowsPerSecond: number | null;
  readonly attacks: readonly Attack[];
  /** kill -9 this many ms after a worker's start */
  readonly killAfter: number | null;
  /** SIGSTOP this many ms after a worker's start, to be continued when another has taken over */
  readonly stopAfter: number | null;
  /** our own sessions are terminated all along */
  readonly shoot: boolean;
  /** the server goes down as in a power cut, this many ms after the start or in this phase */
  readonly restart: number | 'copy' | 'ready' | null;
  /** a transaction with 5,000 changes commits while the write cutover waits for its lock */
  readonly bigAtCutover: boolean;
  /** a snapshot from between drain and swap looks at the new table */
  readonly straddle: boolean;
  /** the gentle cutover is held up until the brief stop has its turn */
  readonly briefStop: boolean;
  /** lanes are sent back to shadowing in the middle of the copy, as the overlay's protocol allows */
  readonly wobble: boolean;
  /** aborted, this many ms after the migration began */
  readonly abortAfter: number | null;
  /** the migration goes on after the write cutover */
  readonly afterwards: Afterwards | null;
  /** rows leave the shadow again */
  readonly evict: boolean;
  readonly swaps: number;
  readonly inserts: number;
  /** ends with the first fault */
  readonly failFast: boolean;
}

const oneOf = <T>(rng: Rng, list: readonly T[]) => list[Math.floor(rng() * list.length)] as T;
const between = (rng: Rng, low: number, high: number) => Math.floor(low + rng() * (high - low));

const starting = (...starts: string[]) =>
  failpoints.filter((name) => starts.some((start) => name.startsWith(start)));
/** Reached only where there is a way back. */
export const onlyAfterwards: readonly Failpoint[] = starting('back.', 'settle.names-gone', 'finalize.');
const forward = failpoints.filter((name) => !onlyAfterwards.includes(name));
const until = forward.indexOf('lane.refreshed');
const cutover = forward.indexOf('cutover.prepared');
const aborting = starting('abort.');
/** A worker can die at one place of each stage in turn; a seed takes two stages. */
const stages: readonly (readonly Failpoint[])[] = [
  forward.slice(0, until),
  forward.slice(until, cutover),
  forward.slice(cutover, forward.indexOf('abort.routed')),
];
/** Where the process that keeps the old table in step can die, and the one that rolls back, or finalizes. */
const keeping = starting(
  'lane.claimed',
  'lane.fenced',
  'lane.before',
  'lane.committed',
  'unique.',
  'settle.s',
  'settle.g',
);
const rollingBack = starting('cutover.', 'stop.', 'settle.');
const finalizing = starting('finalize.');
const preparing = starting('back.');
/** Reached only where T has a unique index beside its key. */
const onlyUnique = /^unique\.|^finish\.(unique-mode|index-settled)$/;
/** Every so many seeds one is aborted. */
const abortEvery = 10;

function attack(rng: Rng, failpoint: Failpoint): Attack {
  const dice = rng();
  const action = dice < 0.68 ? 'kill' : dice < 0.84 ? 'stop' : dice < 0.93 ? 'error' : 'sleep(150)';
  const often =
    failpoint.startsWith('lane.') && failpoint !== 'lane.claimed' && failpoint !== 'lane.reclaimed';
  return { failpoint, action, hit: often ? between(rng, 1, 6) : 1 };
}

/** Between its two statements a refresh meets a swap that was committed in between. */
const provokeCollision: Attack = { failpoint: 'unique.taken', action: 'sleep(150)', hit: 4 };

export function scenarioOf(
  seed: number,
  bias: Partial<Scenario> & { readonly shapes?: readonly number[] } = {},
  goesOn = false,
): Scenario {
  const rng = seededRng(seed * 2654435761);
  const aborted = !goesOn && seed % abortEvery === abortEvery - 1;
  // Counted through, with a shift after each round, so that every failpoint meets every shape.
  const chosen = stages
    .filter((_, i) => i !== seed % stages.length)
    .map((stage) => stage[(seed + Math.floor(seed / stage.length)) % stage.length] as Failpoint);
  const wants = (start: string) => chosen.some((name) => name.startsWith(start));
  const candidates = shapes.filter(
    (shape) =>
      (!wants('refresh.anew') || shape.identity) &&
      (!chosen.some((name) => onlyUnique.test(name)) || shape.unique),
  );
  const { shapes: only, ...more } = bias;
  const usual = candidates.length === shapes.length ? shapes[seed % shapes.length] : oneOf(rng, candidates);
  const briefStop = wants('stop.') || (!aborted && rng() < 0.1);
  const scenario: Scenario = {
    seed,
    shape: (only ? shapes[oneOf(rng, only)] : usual) as Shape,
    rows: between(rng, 2000, 2600),
    chunkRows: oneOf(rng, [100, 250, 600]),
    rowsPerSecond: oneOf(rng, [null, 3000, 5000]),
    attacks: aborted
      ? [attack(rng, aborting[Math.floor(seed / abortEvery) % aborting.length] as Failpoint)]
      : [...chosen.map((name) => attack(rng, name)), ...(wants('unique.collided') ? [provokeCollision] : [])],
    killAfter: rng() < 0.3 ? between(rng, 50, 1800) : null,
    stopAfter: rng() < 0.15 ? between(rng, 300, 1800) : null,
    shoot: wants('lane.reclaimed') || rng() < 0.4,
    restart: rng() < 0.25 ? oneOf(rng, [between(rng, 300, 2500), 'copy', 'ready'] as const) : null,
    bigAtCutover: !briefStop && rng() < 0.4,
    straddle: rng() < 0.4,
    briefStop,
    wobble: !aborted && rng() < 0.15,
    abortAfter: aborted ? between(rng, 100, 2000) : null,
    afterwards: null,
    evict: wants('lane.evicted'),
    swaps: wants('unique.collided') ? 0.8 : 0.15,
    inserts: 0.12,
    failFast: false,
    ...more,
  };
  const planned = goesOn ? goingOn(scenario, bias.afterwards) : scenario;
  return planned.wobble ? { ...planned, rowsPerSecond: 2500, chunkRows: more.chunkRows ?? 100 } : planned;
}

/** Every so many seeds of those that go on are finalized, not rolled back. */
const finalizeEvery = 7;

/**
 * The same seed, and what comes after the write cutover. It has dice of its own, so that what comes before stays as it is.
 * Keys are written in their first image only: T would tell 1.0 and 1.00 apart, and S could not hold both.
 */
function goingOn(scenario: Scenario, given?: Afterwards | null): Scenario {
  const { seed, shape } = scenario;
  const rng = seededRng(seed * 40503);
  const nth = (list: readonly Failpoint[]) => list[seed % list.length] as Failpoint;
  const ends = seed % finalizeEvery === finalizeEvery - 1 ? 'finalized' : 'rolled back';
  const dies = nth(rollingBack);
  const afterwards: Afterwards = given ?? {
    ends,
    window: between(rng, 400, 2000),
    attacks: [attack(rng, nth(keeping))],
    ending: [attack(rng, ends === 'finalized' ? nth(finalizing) : dies)],
    keeps: rng() < 0.6,
    restart: rng() < 0.2,
  };
  return {
    ...scenario,
    shape: { ...shape, keyTexts: (n) => shape.keyTexts(n, () => 0) },
    attacks:
      seed % 4 === 0
        ? [...scenario.attacks, attack(rng, preparing[(seed / 4) % preparing.length] as Failpoint)]
        : scenario.attacks,
    afterwards,
    ...(dies.startsWith('stop.') && !given ? { briefStop: true, bigAtCutover: false } : {}),
  };
}

/** One line that says what the seed does. */
export function describeScenario(scenario: Scenario): string {
  const { shape, attacks, afterwards, swaps: _, inserts: __, ...rest } = scenario;
  const flags = Object.entries(rest)
    .filter(([, value]) => value !== null && value !== false)
    .map(([name, value]) => (value === true ? name : `${name} ${value}`));
  const armed = (list: readonly Attack[]) =>
    list.map(({ failpoint, action, hit }) => `${failpoint}=${action}:${hit}`).join(', ');
  const then = afterwards
    ? `; then ${afterwards.ends} after ${afterwards.window} ms${afterwards.keeps ? ', kept in step' : ''}${afterwards.restart ? ', restart' : ''}; ${armed(afterwards.attacks)}; ${armed(afterwards.ending)}`
    : '';
  return `${shape.name}; ${flags.join(', ')}; ${armed(attacks)}${then}`;
}
