import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { failpoints } from '../../src/core/failpoint.ts';
import { describeFailure, hostileServer, runSeeds } from './hostile/bench.ts';
import { countLedger, ledgerFile } from './hostile/ledger.ts';
import { huntMutant, mutants } from './hostile/mutants.ts';
import { scenarioOf } from './hostile/scenario.ts';
import { failed } from './hostile/seed.ts';
import type { HostileServer } from './hostile/server.ts';
import { shapes } from './hostile/shapes.ts';
import { build, Workers } from './hostile/workers.ts';

/** A few of what `npm run chaos` does by the hundred. */
let server: HostileServer;
beforeAll(async () => {
  server = await hostileServer();
});
afterAll(() => server[Symbol.asyncDispose]());

describe('the hostile bench', () => {
  it('loses nothing in a few seeds: a kill, a zombie, a restart, 5,000 changes at the cutover, an abort', async () => {
    await using made = await build();
    await using workers = new Workers(made);
    let kills = 0;
    for await (const result of runSeeds(
      [17, 9].map((seed) => scenarioOf(seed)),
      server,
      workers,
    )) {
      expect(failed(result), describeFailure(result)).toBe(false);
      expect(result.writerOps).toBeGreaterThan(100);
      kills += result.kills;
    }
    expect(kills).toBeGreaterThan(0);
  }, 120_000);

  it('loses nothing either way in a few seeds that go on after the write cutover, and are rolled back', async () => {
    await using made = await build();
    await using workers = new Workers(made);
    const wanted = [3, 16].map((seed) => scenarioOf(seed, {}, true));
    for await (const result of runSeeds(wanted, server, workers)) {
      expect(failed(result), describeFailure(result, true)).toBe(false);
      expect(result.end).toBe('back');
    }
  }, 180_000);

  it.each(['first column of a composite key only', 'no fencing'])('catches a mutant: %s', async (name) => {
    const mutant = mutants.find((each) => each.name === name)!;
    expect(await huntMutant(mutant, server, { seeds: 5 })).toMatchObject({ caught: true });
  }, 120_000);

  it('plans every shape and every failpoint within 300 seeds', () => {
    const planned = [false, true].flatMap((goesOn) =>
      Array.from({ length: 300 }, (_, i) => scenarioOf(i + 1, {}, goesOn)),
    );
    expect(new Set(planned.map(({ shape }) => shape.name)).size).toBe(shapes.length);
    const armed = planned.flatMap(({ attacks, afterwards }) =>
      [...attacks, ...(afterwards?.attacks ?? []), ...(afterwards?.ending ?? [])].map(
        ({ failpoint }) => failpoint,
      ),
    );
    expect(failpoints.filter((name) => !armed.includes(name))).toEqual([]);
    expect(scenarioOf(7)).toEqual(scenarioOf(7));
  });

  it('refuses a mutant whose text is not there exactly once', async () => {
    const nowhere = { file: 'sync/lane.ts', from: 'this text is nowhere', to: '' };
    await expect(build([nowhere])).rejects.toThrow('sync/lane.ts holds this 0 times, not once');
  });

  it('counts survived seeds from its ledger', async () => {
    const line = {
      at: '',
      commit: 'c',
      dirty: false,
      from: 1,
      seeds: 3,
      kills: 5,
      restarts: 1,
      writer_ops: 7,
    };
    const text = `${JSON.stringify({ ...line, failed: [2] })}\n${JSON.stringify({ ...line, failed: [] })}\n`;
    expect(countLedger(text)).toEqual({ runs: 2, seeds: 6, survived: 5, kills: 10, writer_ops: 14 });
    expect(countLedger(await readFile(ledgerFile, 'utf8')).survived).toBeGreaterThan(0);
  });
});
