import type { KeyColumn, MappedKeyColumn } from '../core/plan.ts';
import { ident } from '../db/ident.ts';

/** The key of a plan, or of a draft of one. */
export interface KeyMap {
  readonly sourceKey: readonly KeyColumn[];
  readonly targetKey: readonly Pick<MappedKeyColumn, 'value' | 'type'>[];
}

/** Casts under which two different source keys can never have met in one target key, at any time. */
const faithful: Readonly<Record<string, readonly string[]>> = {
  smallint: ['integer', 'bigint', 'numeric', 'text'],
  integer: ['smallint', 'bigint', 'numeric', 'text'],
  bigint: ['smallint', 'integer', 'numeric', 'text'],
  numeric: ['text'],
  uuid: ['text'],
};

/** Of these, the ones that some key does not survive. */
const narrowing: Readonly<Record<string, readonly string[]>> = {
  integer: ['smallint'],
  bigint: ['smallint', 'integer'],
};

/** A key column that is a source column, cast at most once; null for any other expression. */
function castOf({ sourceKey }: KeyMap, { value, type }: KeyMap['targetKey'][number]) {
  const collated = /^\(\((.*)\) collate [^()]*\)$/.exec(value);
  const cast = /^\(?(s\.(?:"(?:[^"]|"")+"|\w+))\)?(?:::[a-z ]+)?$/.exec(collated?.[1] ?? value);
  const from = sourceKey.find((column) =>
    [`s.${column.name}`, `s.${ident(column.name)}`].includes(cast?.[1] ?? ''),
  );
  return from ? { from: from.type, to: type, collated: collated !== null } : null;
}

/** Whether different source keys have different target keys, at any time. */
export function keepsKeysApart(map: KeyMap): boolean {
  return map.targetKey.every((column) => {
    const cast = castOf(map, column);
    if (!cast) return false;
    return (!cast.collated && cast.from === cast.to) || (faithful[cast.from] ?? []).includes(cast.to);
  });
}

/**
 * Lanes own ranges of source keys. If different source keys may map to one target key over time ('A', then 'a', under
 * lower()), two lanes would write it in no order; then one lane does all.
 */
export function lanesFor(map: KeyMap, wanted: number): number {
  return keepsKeysApart(map) ? wanted : 1;
}

/**
 * The target's key columns that a source key might have no value for: the map may fail on it, or give NULL. Plain
 * columns, casts to a wider type, and letters made upper or lower case have one for every key.
 */
export function partialKeyColumns<C extends KeyMap['targetKey'][number]>(map: {
  readonly sourceKey: KeyMap['sourceKey'];
  readonly targetKey: readonly C[];
}): C[] {
  return map.targetKey.filter((column) => {
    const cased = /^(?:lower|upper)\((.*)\)$/.exec(column.value);
    const cast = castOf(map, cased ? { value: cased[1] as string, type: 'text' } : column);
    if (!cast) return true;
    if (cast.from === cast.to) return false;
    return !(faithful[cast.from] ?? []).includes(cast.to) || (narrowing[cast.from] ?? []).includes(cast.to);
  });
}
