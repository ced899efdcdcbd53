import { describe, expect, it } from 'vitest';
import { modelOf } from '../explorer/model.ts';
import { find, sayFinding } from '../explorer/report.ts';
import { mutations, rules } from '../explorer/rules.ts';
import { mutants, protocol } from '../explorer/scenarios.ts';
import { explore } from '../explorer/search.ts';

/** States that each search of the protocol must at least have seen: fewer, and the model has lost a part. */
const atLeast: Readonly<Record<string, number>> = {
  'copy and swap': 100_000,
  'everything at once': 100_000,
  'late writers': 100_000,
  membership: 100_000,
  'read, then write': 50_000,
  'unique values': 20_000,
  'keys equal but not the same': 10_000,
};

describe('the protocol, in every state that its model can reach', () => {
  it.each(protocol.map((rules) => [rules.name, rules] as const))(
    '%s',
    { timeout: 120_000 },
    (name, rules) => {
      const finding = find(rules);
      expect(finding.violation && sayFinding(finding)).toBeNull();
      expect(finding.states).toBeGreaterThan(atLeast[name] as number);
      expect(finding.swapped).toBeGreaterThan(100);
    },
  );
});

describe('each mutant goes wrong, and nothing but its mutation is to blame', () => {
  it('there is one for each mutation', () => {
    expect(mutants.map((rules) => rules.without)).toEqual(mutations);
  });

  it.each(mutants.map((rules) => [rules.name, rules] as const))('%s', (_, rules) => {
    const { violation } = find(rules);
    expect(violation?.steps.every((step) => step)).toBe(true);
    expect(violation?.steps.length).toBeLessThanOrEqual(13);
    const control = find({ ...rules, without: null });
    expect(control.violation && sayFinding(control)).toBeNull();
  });
});

describe('the model', () => {
  const alike = mutants.filter((rules) => rules.without !== 'cursor instead of delete by identity');
  it.each(
    alike.map((rules) => [rules.name, rules] as const),
  )('finds the same when states that are alike count as one: %s', (_, rules) => {
    const plain = explore(modelOf(rules));
    const renamed = explore(modelOf(rules, { symmetry: true }));
    expect(renamed.violation?.steps).toHaveLength(plain.violation?.steps.length as number);
    expect(renamed.states).toBeLessThanOrEqual(plain.states);
  });

  it('keeps lanes in REPEATABLE READ apart by their epochs: alone they do no harm', () => {
    const lanesOnly = rules('lanes only', '', {
      without: 'lanes in REPEATABLE READ',
      transactions: [1, 1],
      cutover: ['eased'],
    });
    expect(find(lanesOnly)).toMatchObject({ violation: null });
  });
});

describe('the search', () => {
  /** counts up to ten by ones and by threes */
  const counter = {
    initial: ['0'],
    steps: (state: string, take: (what: string, next: string) => void) => {
      for (const by of [1, 3]) if (Number(state) + by <= 10) take(`+${by}`, String(Number(state) + by));
    },
  };

  it('visits every state once', () => {
    expect(explore({ ...counter, wrong: () => null })).toMatchObject({
      states: 11,
      violation: null,
      depth: 4,
    });
  });

  it('finds a shortest way to what is wrong', () => {
    const { violation } = explore({ ...counter, wrong: (state) => (state === '7' ? 'seven' : null) });
    expect(violation?.wrong).toBe('seven');
    expect(violation?.steps).toHaveLength(3);
  });

  it('does not pass for exhaustive when it is not', () => {
    expect(() => explore({ ...counter, wrong: () => null }, 5)).toThrow('more than 5 states');
  });
});
