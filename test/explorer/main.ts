import { type Finding, find, sayFinding } from './report.ts';
import type { Rules } from './rules.ts';
import { deep, mutants, protocol } from './scenarios.ts';

/**
 * npm run explore [-- --json] [--deep] [--only=<text in a name>]
 * Fails when the protocol goes wrong somewhere, or when a mutant does not.
 */
const args = process.argv.slice(2);
const json = args.includes('--json');
const only = args.find((arg) => arg.startsWith('--only='))?.slice('--only='.length) ?? '';

function search(title: string, settings: readonly Rules[]): Finding[] {
  const chosen = settings.filter((rules) => rules.name.includes(only));
  if (!json && chosen.length) process.stdout.write(`\n== ${title}\n\n`);
  return chosen.map((rules) => {
    const finding = find(rules);
    if (!json) process.stdout.write(`${sayFinding(finding)}\n`);
    return finding;
  });
}

const found = {
  protocol: search('The protocol: nothing may go wrong', [
    ...protocol,
    ...(args.includes('--deep') ? deep : []),
  ]),
  mutants: search('Mutants, one safety switched off: each must go wrong', mutants),
};
const sum = (of: (finding: Finding) => number) => found.protocol.reduce((total, each) => total + of(each), 0);
const states = sum((finding) => finding.states);
const seconds = sum((finding) => finding.seconds);
const violations = found.protocol.filter((finding) => finding.violation);
const survivors = found.mutants.filter((finding) => !finding.violation);

if (json) {
  process.stdout.write(
    `${JSON.stringify({ schema: 1, states, seconds, violations: violations.length, ...found })}\n`,
  );
} else {
  process.stdout.write(
    `protocol: ${states.toLocaleString('en')} states in ${seconds.toFixed(1)} s, ${violations.length} violations; ` +
      `mutants: ${found.mutants.length - survivors.length} of ${found.mutants.length} go wrong\n`,
  );
}
if (violations.length || survivors.length) process.exitCode = 1;
