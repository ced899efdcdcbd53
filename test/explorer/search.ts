/** What the search needs of a model: states as text (equal text, equal state), steps, and a judgement of each state. */
export interface Model {
  readonly initial: readonly string[];
  /** every step that may be taken, each with what it does in words */
  readonly steps: (state: string, take: (what: string, next: string) => void) => void;
  /** what is wrong in this state; null when nothing is */
  readonly wrong: (state: string) => string | null;
}

export interface Counterexample {
  /** the shortest sequence of steps that leads there */
  readonly steps: readonly string[];
  readonly wrong: string;
}

export interface Exploration {
  readonly states: number;
  readonly transitions: number;
  /** steps from the beginning to the farthest state */
  readonly depth: number;
  readonly seconds: number;
  readonly violation: Counterexample | null;
}

/**
 * Visits every state that steps can reach, nearest first, and stops at the first that is wrong: so the way there is as
 * short as any. A search of more than `maxStates` fails: it would not be exhaustive.
 */
export function explore(model: Model, maxStates = 3_000_000): Exploration {
  const began = performance.now();
  const states: string[] = [];
  const cameFrom: number[] = [];
  const known = new Set<string>();
  let transitions = 0;
  let found: number | null = null;
  let current = -1;

  const visit = (state: string) => {
    if (found !== null || known.has(state)) return;
    known.add(state);
    states.push(state);
    cameFrom.push(current);
    if (model.wrong(state) !== null) found = states.length - 1;
  };
  for (const state of model.initial) visit(state);

  let depth = 0;
  let lastOfDepth = states.length - 1;
  for (current = 0; current < states.length && found === null; current++) {
    if (states.length > maxStates) throw new Error(`more than ${maxStates} states`);
    model.steps(states[current] as string, (_, next) => {
      transitions += 1;
      visit(next);
    });
    if (current === lastOfDepth && states.length - 1 > lastOfDepth) {
      depth += 1;
      lastOfDepth = states.length - 1;
    }
  }

  const violation = found === null ? null : counterexample(model, states, cameFrom, found);
  const seconds = (performance.now() - began) / 1000;
  return { states: states.length, transitions, depth, seconds, violation };
}

/** The way to a state. Words were not kept: each step is taken again to hear them. */
function counterexample(
  model: Model,
  states: readonly string[],
  cameFrom: readonly number[],
  found: number,
): Counterexample {
  const steps: string[] = [];
  for (let at = found, from = cameFrom[at] as number; from >= 0; at = from, from = cameFrom[at] as number) {
    let words = '';
    model.steps(states[from] as string, (what, next) => {
      if (next === states[at] && !words) words = what;
    });
    steps.unshift(words);
  }
  return { steps, wrong: model.wrong(states[found] as string) as string };
}
