import { hostileServer, runSeeds } from './bench.ts';
import { type Scenario, scenarioOf } from './scenario.ts';
import { failed } from './seed.ts';
import type { HostileServer } from './server.ts';
import { build, type Replacement, Workers } from './workers.ts';

/** A safety that is switched off, and what provokes the harm. The same seeds pass when it is on. */
export interface Mutant {
  readonly name: string;
  readonly replacements: readonly Replacement[];
  readonly bias: Partial<Scenario> & { readonly shapes?: readonly number[] };
  /** its seeds go on after the write cutover */
  readonly goesOn?: boolean;
}

export interface MutantResult {
  readonly name: string;
  readonly caught: boolean;
  /** the first seed that caught it */
  readonly seed: number | null;
  /** how it showed */
  readonly by: string | null;
}

const mostSeeds = 20;

/** Nothing happens but the writers: what a mutant needs is added to this. */
const calm: Partial<Scenario> = {
  attacks: [],
  killAfter: null,
  stopAfter: null,
  shoot: false,
  restart: null,
  bigAtCutover: false,
  straddle: false,
  briefStop: false,
  wobble: false,
  abortAfter: null,
  evict: false,
};

const whileLogged = `while (log.filled) {`;
const filledAgain = `if (log.rowCount) throw new Blocked('the key log filled again');`;

/** Kept in step for a while, then rolled back, with nothing else in the way. */
const rolledBack: Partial<Scenario> = {
  afterwards: { ends: 'rolled back', window: 600, attacks: [], ending: [], keeps: true, restart: false },
};

export const mutants: readonly Mutant[] = [
  {
    name: 'client-side copy beside the applier',
    bias: { rowsPerSecond: null, chunkRows: 600 },
    replacements: [
      {
        file: 'sync/lane.ts',
        from: `    const { passed } = await copyChunk(client, plan, range, chunkRows);`,
        to: `    const beside = await this.#options.connect();
    const bring = await readChunk(beside, plan, range, chunkRows);
    const { passed } = await copyChunk(client, plan, range, chunkRows);
    void clock.sleep(100).then(bring).catch(() => {}).finally(() => beside.end());`,
      },
      {
        file: 'sync/lane.ts',
        from: `import { copyChunk, type KeyRange, laneBounds } from './chunk.queries.ts';`,
        to: `import { copyChunk, type KeyRange, laneBounds, readChunk } from './chunk.queries.ts';`,
      },
      {
        file: 'sync/chunk.queries.ts',
        from: `        \${insertIntoTarget(plan)}
        select \${rowMap(plan)} from \${source} s
         where \${passed} and`,
        to: `        select \${rowMap(plan)} from \${source} s
         where false and \${passed} and`,
      },
      {
        file: 'sync/chunk.queries.ts',
        from: `/** All ranges in key order: they partition the key space, both ends open. */`,
        to: `export async function readChunk(client: ClientBase, plan: TablePlan, range: KeyRange, limit: number) {
  const low = range.cursor ?? range.low;
  const within = withinBounds(plan, sourceKey(plan), { low, high: range.high }, 1);
  const rows = \`select \${plan.columns.map((c) => \`\${c.value} as \${ident(c.name)}\`).join(', ')} from \${plan.names.source} s\`;
  await client.query(\`create temp table chunk as \${rows} with no data\`);
  await client.query(\`insert into pg_temp.chunk \${rows} where \${within.sql} order by \${sourceKey(plan)} limit \${limit}\`, within.values);
  const columns = plan.columns.map((c) => ident(c.name)).join(', ');
  return () => client.query(\`\${insertIntoTarget(plan)} select \${columns} from pg_temp.chunk on conflict do nothing\`);
}

/** All ranges in key order: they partition the key space, both ends open. */`,
      },
    ],
  },
  {
    name: 'cursor instead of delete by identity',
    bias: { rowsPerSecond: 1500, chunkRows: 100 },
    replacements: [
      {
        file: 'sync/refresh.queries.ts',
        from: `      delete from \${keyLog} l
       where l.ctid = any (array(select l.ctid from \${keyLog} l where \${lane} limit \${limit}))
      returning \${keys}, l.op, l.at),`,
        to: `      select \${keys}, l.op, l.at from \${keyLog} l where \${lane} order by l.at limit \${limit}),`,
      },
      {
        file: 'sync/refresh.queries.ts',
        from: `const countsSql = \`(select count(*) from taken)::int as taken,`,
        to: `async function forget(client: ClientBase, plan: TablePlan, bounds: KeyBounds, { upTo }: any): Promise<void> {
  if (upTo === null) return;
  const lane = withinBounds(plan, sourceKeyOf(plan, 'l'), bounds, 2);
  await client.query(\`delete from \${plan.names.keyLog} l where l.at <= $1::timestamptz and \${lane.sql}\`, [upTo, ...lane.values]);
}
const countsSql = \`(select max(at)::text from taken) as "upTo", (select count(*) from taken)::int as taken,`,
      },
      {
        file: 'sync/refresh.queries.ts',
        from: `    values: [limit, ...lane.values],
  });`,
        to: `    values: [limit, ...lane.values],
  });
  await forget(client, plan, bounds, rows[0]);`,
      },
      {
        file: 'sync/refresh.queries.ts',
        from: `    values: [limit, lane.migrationId, lane.lane, lane.pi0, lane.newRoom, ...inLane.values],
  });`,
        to: `    values: [limit, lane.migrationId, lane.lane, lane.pi0, lane.newRoom, ...inLane.values],
  });
  await forget(client, plan, bounds, rows[0]);`,
      },
    ],
  },
  {
    name: 'single-batch drain',
    bias: { bigAtCutover: true },
    replacements: [
      { file: 'migration/cutover/attempt.ts', from: whileLogged, to: whileLogged.replace('while', 'if') },
      {
        file: 'migration/cutover/attempt.ts',
        from: filledAgain,
        to: `if (log.rowCount) await moment();`,
      },
    ],
  },
  {
    name: 'first column of a composite key only',
    bias: { shapes: [4, 6] },
    replacements: [
      {
        file: 'sync/fragments.ts',
        from: `  return plan.targetKey.map((column, i) => \`\${ofTarget(column, t)} = \${alias}.m\${i + 1}\`).join(' and ');`,
        to: `  return plan.targetKey.slice(0, 1).map((column, i) => \`\${ofTarget(column, t)} = \${alias}.m\${i + 1}\`).join(' and ');`,
      },
    ],
  },
  {
    name: 'no fencing',
    bias: {
      rowsPerSecond: 400,
      chunkRows: 100,
      attacks: [{ failpoint: 'lane.chunk-copied', action: 'stop', hit: 2 }],
    },
    replacements: [
      {
        file: 'sync/lane.queries.ts',
        from: ` and l.epoch = $1
        for update of l nowait\``,
        to: `\``,
      },
      // the lease stops a zombie too, a moment later; it is there to spare work, and must not be what keeps rows safe
      {
        file: 'pipeline/leases.ts',
        from: `if (!names.has(name)) this.#lose(name, lease);`,
        to: `void names;`,
      },
    ],
  },
  {
    name: "refresh without OLD's key",
    bias: {},
    replacements: [
      { file: 'sync/capture.ts', from: `\${log('old', \`'U'\`)}`, to: `\${log('new', \`'U'\`)}` },
    ],
  },
  {
    name: 'overlay without the key-log branch',
    bias: {},
    replacements: [
      { file: 'shadow/overlay.ts', from: ` where not \${inLog(targetMatches(plan, 'l'))}`, to: `` },
      { file: 'shadow/overlay.ts', from: `\${dirty} and \${gate}\``, to: `false and \${gate}\`` },
      { file: 'shadow/overlay.ts', from: `not \${dirty} and not \${inTarget}`, to: `not \${inTarget}` },
    ],
  },
  {
    name: 'lane mode read outside the fencing select',
    // What a lane has read counts for a quarter of a second: it works on in its own order when the unique indexes are there,
    // or copies when the cursors have begun anew.
    bias: { wobble: true, inserts: 0.5, swaps: 0.3 },
    replacements: [
      {
        file: 'sync/lane.ts',
        from: `    const held = await fence(client, plan, this.#epoch);`,
        to: `    const now = await fence(client, plan, this.#epoch);
    if (now && this.#options.clock.now() > this.#modeUntil) {
      this.#mode = now.mode;
      this.#modeUntil = this.#options.clock.now() + 0.25;
    }
    const held: Fence | null = now && { ...now, mode: this.#mode ?? now.mode };`,
      },
      {
        file: 'sync/lane.ts',
        from: `  #epoch = 0;`,
        to: `  #epoch = 0;\n  #mode: Fence['mode'] | undefined;\n  #modeUntil = 0;`,
      },
    ],
  },
  {
    // The lane's row lock orders its snapshots whatever their level, so the harm shows where the cutover drains.
    name: 'lanes in REPEATABLE READ',
    bias: { briefStop: true },
    replacements: [
      {
        file: 'sync/lane.queries.ts',
        from: `begin isolation level read committed read write;
     lock table`,
        to: `begin isolation level repeatable read read write;
     lock table`,
      },
      {
        file: 'migration/cutover/attempt.ts',
        from: `begin isolation level read committed read write`,
        to: `begin isolation level repeatable read read write`,
      },
    ],
  },
  {
    name: 'drain inside the cutover transaction',
    bias: { straddle: true },
    replacements: [
      {
        file: 'migration/cutover/attempt.ts',
        from: whileLogged,
        to: `const mode = await laneMode(client, plan);
  await setLaneMode(client, plan, 'STOPPED');
  const drain = () =>
    mode === 'UNIQUE'
      ? refreshUnique(client, plan, mostBacklog)
      : refreshAll(client, plan, { low: null, high: null }, mostBacklog);
  while ((await drain()).taken > 0) {`,
      },
    ],
  },
  {
    name: 'key equality instead of key image',
    bias: { shapes: [5] },
    replacements: [
      {
        file: 'sync/capture.ts',
        from: `pg_catalog.record_image_ne(row(\${raw('old')}), row(\${raw('new')}))`,
        to: `row(\${raw('old')}) operator(pg_catalog.<>) row(\${raw('new')})`,
      },
    ],
  },
  {
    name: 'unique swap without the dirty-owner rule',
    bias: {
      shapes: [0, 2, 3],
      swaps: 0.8,
      attacks: [{ failpoint: 'unique.taken', action: 'sleep(150)', hit: 4 }],
    },
    replacements: [
      {
        file: 'sync/unique.queries.ts',
        from: `      const aside = await client.query(
        \`delete from \${target} t where exists (select 1 from \${keyLog} l where \${targetMatches(plan, 'l')})\`,
      );
      if (!aside.rowCount && attempt >= attempts) throw uniqueViolated(error);`,
        to: `      if (attempt >= attempts) throw uniqueViolated(error);`,
      },
    ],
  },
  {
    name: 'capture of the way back after the commit',
    goesOn: true,
    bias: rolledBack,
    replacements: [
      {
        file: 'migration/way-back/open.ts',
        from: `    ...captureTriggersSql(
      wayBack,
      partitions.map(({ schema, name }) => ident(schema, name)),
    ),
`,
        to: ``,
      },
      {
        file: 'migration/way-back/open.ts',
        from: `import { captureTriggersSql } from '../../sync/capture.ts';`,
        to: ``,
      },
      {
        file: 'migration/cutover/attempt.ts',
        from: `  await client.query('commit');`,
        to: `  await client.query('commit');
  const late = exchange.kind === 'cutover' ? moved.physical?.wayBack?.plan : undefined;
  if (late) {
    await new Promise((resolve) => setTimeout(resolve, 300));
    for (const sql of captureTriggersSql(late)) await client.query(sql);
    await client.query(\`update foreshadow.migration_status set physical = jsonb_set(physical, '{wayBack,stamp}',
      (select to_jsonb(x) from (select \${stampSql(late)}) x)) where id = \${migration.id}\`);
  }`,
      },
      {
        file: 'migration/cutover/attempt.ts',
        from: `import { markAsLaneSql } from '../../sync/lane.ts';`,
        to: `import { captureTriggersSql } from '../../sync/capture.ts';
import { stampSql } from '../../sync/lane.queries.ts';
import { markAsLaneSql } from '../../sync/lane.ts';`,
      },
    ],
  },
  {
    name: 'rollback without a drain',
    goesOn: true,
    bias: { ...rolledBack, bigAtCutover: true },
    replacements: [
      {
        file: 'migration/cutover/attempt.ts',
        from: whileLogged,
        to: `while (log.filled && exchange.kind === 'cutover') {`,
      },
      {
        file: 'migration/cutover/attempt.ts',
        from: filledAgain,
        to: filledAgain.replace('log.rowCount', `log.rowCount && exchange.kind === 'cutover'`),
      },
    ],
  },
];

export const mutantScenario = (mutant: Mutant, seed: number) =>
  scenarioOf(seed, { ...calm, ...mutant.bias }, mutant.goesOn);

/** Runs a mutant's seeds until one catches it. @param mutated false: the control, on the code as it is */
export async function huntMutant(
  mutant: Mutant,
  server: HostileServer,
  options: { seeds?: number; from?: number; mutated?: boolean } = {},
): Promise<MutantResult> {
  const { seeds = mostSeeds, from = 1, mutated = true } = options;
  await using made = await build(mutated ? mutant.replacements : []);
  await using workers = new Workers(made);
  const wanted = Array.from({ length: seeds }, (_, i) => ({
    ...mutantScenario(mutant, from + i),
    failFast: true,
  }));
  for await (const result of runSeeds(wanted, server, workers)) {
    if (!failed(result)) continue;
    const { lost, extra, different } = result.differences;
    const by =
      result.faults[0] ??
      `${lost.length} lost, ${extra.length} extra, ${different.length} different keys: ${[...lost, ...extra, ...different].slice(0, 3).join('; ')}`;
    return { name: mutant.name, caught: true, seed: result.seed, by };
  }
  return { name: mutant.name, caught: false, seed: null, by: null };
}

/** Every mutant in turn. With `control`, the seed that caught each is run on the code as it is, and must pass. */
export async function runMutants(
  options: { only?: string | undefined; control?: boolean },
  say: (text: string) => void,
): Promise<MutantResult[]> {
  await using server = await hostileServer();
  const results: MutantResult[] = [];
  for (const mutant of mutants.filter(({ name }) => name.includes(options.only ?? ''))) {
    const began = performance.now();
    const result = await huntMutant(mutant, server);
    results.push(result);
    const seconds = ((performance.now() - began) / 1000).toFixed(0);
    say(
      `${result.caught ? `caught by seed ${result.seed}` : 'NOT CAUGHT'} in ${seconds} s: ${mutant.name}\n    ${result.by}`,
    );
    if (!options.control || result.seed === null) continue;
    const control = await huntMutant(mutant, server, { from: result.seed, seeds: 1, mutated: false });
    if (control.caught)
      throw new Error(`seed ${result.seed} of "${mutant.name}" fails on the code as it is: ${control.by}`);
    say('    control: the same seed passes on the code as it is');
  }
  return results;
}
