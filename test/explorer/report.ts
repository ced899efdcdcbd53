import { modelOf } from './model.ts';
import type { Rules } from './rules.ts';
import { type Exploration, explore } from './search.ts';

/** What one search has found, as it is printed. */
export interface Finding extends Exploration {
  readonly name: string;
  readonly about: string;
  /** states after the swap: without any, nothing has been said of it */
  readonly swapped: number;
}

export function find(rules: Rules): Finding {
  let swapped = 0;
  const model = modelOf(rules, { onState: (state) => void (swapped += state.swapped) });
  const exploration = explore(model);
  return { name: rules.name, about: rules.about, swapped, ...exploration };
}

const figures = ({ states, swapped, transitions, seconds }: Finding) =>
  `${states.toLocaleString('en')} states (${swapped.toLocaleString('en')} after the swap), ${transitions.toLocaleString('en')} steps, ${seconds.toFixed(1)} s`;

export function sayFinding(finding: Finding): string {
  const { name, about, violation } = finding;
  if (!violation) return `${name}: ${about}\n  no violation; ${figures(finding)}\n`;
  const steps = violation.steps.map((step, i) => `  ${String(i + 1).padStart(2)}. ${step}\n`).join('');
  return `${name}: ${about}\n${steps}  => ${violation.wrong}\n     (${figures(finding)})\n`;
}
