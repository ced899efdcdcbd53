import { modelOf } from './model.ts';
import type { Rules } from './rules.ts';
import { type Exploration, explore } from './search.ts';

/** What one search has found, as it is printed. */
export interface Finding extends Exploration {
  readonly name: string;
  readonly about: string;
}

export function find(rules: Rules): Finding {
  return { name: rules.name, about: rules.about, ...explore(modelOf(rules)) };
}

const figures = ({ states, transitions, seconds }: Finding) =>
  `${states.toLocaleString('en')} states, ${transitions.toLocaleString('en')} steps, ${seconds.toFixed(1)} s`;

export function sayFinding(finding: Finding): string {
  const { name, about, violation } = finding;
  if (!violation) return `${name}: ${about}\n  no violation; ${figures(finding)}\n`;
  const steps = violation.steps.map((step, i) => `  ${String(i + 1).padStart(2)}. ${step}\n`).join('');
  return `${name}: ${about}\n${steps}  => ${violation.wrong}\n     (${figures(finding)})\n`;
}
