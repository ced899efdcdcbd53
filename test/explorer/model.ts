import { applicationSteps } from './application.ts';
import { wrong } from './invariants.ts';
import { laneSteps } from './lanes.ts';
import { migrationSteps } from './migration.ts';
import type { Rules } from './rules.ts';
import type { Model } from './search.ts';
import { decode, encode, initialState, type State } from './state.ts';
import { renameAlike } from './symmetry.ts';
import type { Take } from './words.ts';

/** The protocol, or what is left of it, as states and steps. */
export function modelOf(
  rules: Rules,
  { symmetry = rules.without === null, onState = (_: State) => {} } = {},
): Model {
  return {
    initial: [encode(initialState(rules))],
    wrong(text) {
      const state = decode(rules, text);
      onState(state);
      return wrong(rules, state);
    },
    steps(text, take) {
      const state = decode(rules, text);
      if (state.refused) return;
      const step: Take = (what, change) => {
        const next = decode(rules, text);
        change(next);
        if (symmetry) renameAlike(next);
        take(what, encode(next));
      };
      applicationSteps(rules, state, step);
      laneSteps(rules, state, step);
      migrationSteps(rules, state, step);
    },
  };
}
