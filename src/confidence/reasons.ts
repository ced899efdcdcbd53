import type { LevelSettings } from './level.ts';
import type { Measurement } from './measurement.ts';
import type { ConfidenceReport, FieldReport, Reason } from './report.ts';

type Terms = Omit<ConfidenceReport, 'holds' | 'reasons' | 'notes'>;

/** For each term that is short: which, by how much, and what would clear it. Empty when this evaluation holds. */
export function reasonsOf(terms: Terms, measured: Measurement, settings: LevelSettings): Reason[] {
  const reasons: Reason[] = [];
  if (terms.lower < settings.threshold) reasons.push(levelReason(terms, measured, settings));
  if (terms.random_members === 0 && measured.strata.nA < measured.strata.N) {
    reasons.push({
      ...short('members', undefined, 0, 1),
      message:
        'no random member is in the target yet, so nothing is known of the rows outside the certain set',
      clear: 'wait until the random remainder is filled, or give it a share in shadow.weights.random',
    });
  }
  for (const { name, why } of measured.unmeasured) {
    reasons.push({
      ...short('unmeasured', name, 0, 1),
      message: `field ${name} could not be measured: ${why}`,
      clear: 'mend the expression, or leave the field out by naming the others in confidence.fields',
    });
  }
  if (terms.fields.length === 0) {
    reasons.push({
      ...short('unmeasured', undefined, 0, 1),
      message: 'no field of the shadow can be compared with the source',
      clear: 'name at least one column that goes through the row map in confidence.fields, or name none',
    });
  }
  for (const field of terms.fields) reasons.push(...fieldReasons(field, terms, settings));
  reasons.push(...defectReasons(terms, measured));
  return reasons;
}

function short(term: Reason['term'], name: string | undefined, value: number, needed: number) {
  return { term, ...(name === undefined ? {} : { name }), value, needed, short_by: Math.abs(needed - value) };
}

/** Says which of the three losses is the largest: real distance, too small a sample, or a source that moves. */
function levelReason(terms: Terms, measured: Measurement, settings: LevelSettings): Reason {
  const { similarity: wS, changeRate: wC } = settings.weights;
  const moving = wC * (1 - terms.change_rate_factor);
  const unsure = wS * (terms.similarity_score - terms.similarity_lower);
  const noise = wS * weightedNoise(terms.fields);
  const real = Math.max(0, wS * (1 - terms.similarity_score) - noise);
  const message =
    `the level is ${terms.level.toFixed(4)} with lower bound ${terms.lower.toFixed(4)}, ` +
    `the threshold ${settings.threshold}: similarity costs ${(wS * (1 - terms.similarity_score)).toFixed(4)} ` +
    `(noise alone ${noise.toFixed(4)}), its uncertainty ${unsure.toFixed(4)}, changes ${moving.toFixed(4)}`;
  return { ...short('level', undefined, terms.lower, settings.threshold), message, clear: clear() };

  function clear(): string {
    if (moving >= unsure + noise && moving >= real) {
      return `${measured.changedKeys} keys changed since the source was measured: measure it again, or wait for calm`;
    }
    if (real >= unsure + noise)
      return 'the shadow differs from the source: see the fields with the lowest similarity';
    const room = 1 - settings.threshold - moving - real;
    const m = measured.randomMembers;
    if (m === 0) return 'wait until the random remainder is filled';
    if (room <= 0) return 'more random members, and fewer changes or a lower threshold';
    // noise and uncertainty both shrink with 1/√m
    const needed = Math.ceil(m * ((unsure + noise) / room) ** 2);
    const most = measured.strata.N - measured.strata.nA;
    return needed > most
      ? 'the table is too small for this threshold at any random share: lower it, or shadow more of the table'
      : `about ${needed} random members instead of ${m}: raise shadow.weights.random or shadow.fraction`;
  }
}

function weightedNoise(fields: readonly FieldReport[]): number {
  const weight = fields.reduce((sum, field) => sum + field.weight, 0);
  return weight > 0 ? fields.reduce((sum, { weight: w, noise }) => sum + w * (1 - noise), 0) / weight : 0;
}

function fieldReasons(field: FieldReport, terms: Terms, settings: LevelSettings): Reason[] {
  const reasons: Reason[] = [];
  if (field.lower < settings.fieldThreshold) {
    // a faithful shadow of this size would miss the threshold too: the sample is to blame, not the field
    const starved = field.noise - (field.similarity - field.lower) < settings.fieldThreshold;
    reasons.push({
      ...short('field', field.name, field.lower, settings.fieldThreshold),
      message:
        `field ${field.name}: similarity ${field.similarity.toFixed(4)}, lower bound ${field.lower.toFixed(4)}, ` +
        `needed ${settings.fieldThreshold}; noise alone would give ${field.noise.toFixed(4)}`,
      clear: starved
        ? `more random members than ${terms.random_members}: raise shadow.weights.random or shadow.fraction`
        : `look at the map of ${field.name}: its values in the target are not distributed like the source's`,
    });
  }
  const difference = Math.abs(field.nulls.source - field.nulls.shadow);
  if (difference > field.nulls.allowed + 1e-12) {
    reasons.push({
      ...short('nulls', field.name, difference, field.nulls.allowed),
      message:
        `field ${field.name}: ${percent(field.nulls.shadow)} NULL in the shadow, ${percent(field.nulls.source)} in ` +
        `the source, more apart than the ${percent(field.nulls.allowed)} that chance allows`,
      clear: `look at how the map of ${field.name} treats NULL`,
    });
  }
  return reasons;
}

function defectReasons(terms: Terms, measured: Measurement): Reason[] {
  const reasons: Reason[] = [];
  const { sync } = terms.defects;
  if (sync.found > 0) {
    reasons.push({
      ...short('sync', undefined, sync.found, 0),
      message: `${sync.found} of ${sync.checked} members differ from f(source), such as ${keys(measured.sync.examples)}`,
      clear: 'refresh these keys; if they differ again, the capture trigger or a lane is broken',
    });
  }
  for (const check of measured.checks) {
    const name = `${check.kind === 'back' ? 'back map of' : 'invariant'} ${check.name}`;
    if (check.error !== undefined) {
      reasons.push({
        ...short('map', check.name, 1, 0),
        message: `${name} raised SQLSTATE ${check.error}, so it checked nothing`,
        clear: `mend the expression of the ${name}`,
      });
    } else if (check.found > 0) {
      const nulls = check.nulls > 0 ? ` (${check.nulls} of them NULL instead of true)` : '';
      reasons.push({
        ...short('map', check.name, check.found, 0),
        message: `${name} fails on ${check.found} members${nulls}, such as ${keys(check.examples)}`,
        clear:
          check.nulls === check.found && check.kind === 'invariant'
            ? 'write IS NOT DISTINCT FROM where NULL is allowed, or mend the map'
            : 'mend the map, the back map or the invariant: they contradict each other on these rows',
      });
    }
  }
  return reasons;
}

const percent = (share: number) => `${(100 * share).toFixed(2)} %`;
const keys = (examples: readonly (readonly string[])[]) =>
  examples.map((key) => (key.length === 1 ? key[0] : `(${key.join(', ')})`)).join(', ');
