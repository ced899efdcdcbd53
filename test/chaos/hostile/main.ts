import { parseArgs } from 'node:util';
import { describeFailure, hostileServer, runSeeds, scenarios, summarise } from './bench.ts';
import { appendToLedger, countLedger, readLedger } from './ledger.ts';
import { runMutants } from './mutants.ts';
import { describeScenario, scenarioOf } from './scenario.ts';
import { failed, type SeedResult } from './seed.ts';
import { build, Workers } from './workers.ts';

const usage = `npm run chaos -- --seeds N [--from S] [--rollback] [--json] [--no-ledger]
npm run chaos -- --mutants [--only NAME] [--control] [--json]
npm run chaos -- --count          what docs/chaos-ledger.jsonl adds up to
npm run chaos -- --plan --seeds N what those seeds will do`;

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '10' },
    from: { type: 'string', default: '1' },
    rollback: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    'no-ledger': { type: 'boolean', default: false },
    mutants: { type: 'boolean', default: false },
    only: { type: 'string' },
    control: { type: 'boolean', default: false },
    count: { type: 'boolean', default: false },
    plan: { type: 'boolean', default: false },
    verbose: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});
const [from, seeds] = [Number(values.from), Number(values.seeds)];
const remark = (text: string) => void process.stderr.write(`${text}\n`);
const print = (document: unknown) => void process.stdout.write(`${JSON.stringify(document)}\n`);

function say(result: SeedResult): void {
  if (failed(result)) {
    remark(describeFailure(result, values.rollback));
    return;
  }
  const { seed, seconds, kills, restarts, writerOps, snapshots, straddled, slowestWriteMs, shape } = result;
  remark(
    `seed ${seed} ok, ${seconds.toFixed(1)} s: ${kills} kills, ${restarts} restarts, ${writerOps} operations, ` +
      `${snapshots} snapshots${straddled ? ', straddled' : ''}, slowest write ${slowestWriteMs} ms; ${shape}`,
  );
  if (values.verbose) for (const line of result.timeline) remark(`    ${line}`);
}

if (values.help || !Number.isInteger(from) || !Number.isInteger(seeds)) {
  remark(usage);
  process.exitCode = values.help ? 0 : 2;
} else if (values.count) {
  print(countLedger(await readLedger()));
} else if (values.plan) {
  for (let seed = from; seed < from + seeds; seed++)
    remark(`${seed}: ${describeScenario(scenarioOf(seed, {}, values.rollback))}`);
} else if (values.mutants) {
  const mutants = await runMutants({ only: values.only, control: values.control }, remark);
  if (values.json) print({ mutants });
  process.exitCode = mutants.every((mutant) => mutant.caught) ? 0 : 1;
} else {
  const began = performance.now();
  await using server = await hostileServer();
  await using made = await build();
  await using workers = new Workers(made);
  const results: SeedResult[] = [];
  for await (const result of runSeeds(scenarios(from, seeds, values.rollback), server, workers)) {
    results.push(result);
    say(result);
  }
  const report = summarise(results, workers.started, (performance.now() - began) / 1000, values.rollback);
  if (!values['no-ledger']) await appendToLedger(from, report);
  if (values.json) print(report);
  else remark(JSON.stringify(report, null, 2));
  process.exitCode = report.failed_seeds.length ? 1 : 0;
}
