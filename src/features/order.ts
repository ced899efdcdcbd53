import type { Access } from '../core/access.ts';

/**
 * The one order in which a log is learnt from: by time, then key, op and weight. A file's own order among equal
 * timestamps carries no meaning, so nothing may depend on it.
 */
export function compareAccesses(a: Access, b: Access): number {
  if (a.at !== b.at) return a.at - b.at;
  if (a.key !== b.key) return a.key < b.key ? -1 : 1;
  if (a.op !== b.op) return a.op < b.op ? -1 : 1;
  return (a.weight ?? 1) - (b.weight ?? 1);
}
