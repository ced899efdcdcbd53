import { expect, test } from 'vitest';
import { type MigrationStatus, migrationStatuses } from '../../src/core/states.ts';
import { isOver, mayAbort, mayFollow } from '../../src/migration/states.ts';

const following = (from: MigrationStatus) => migrationStatuses.filter((to) => mayFollow(from, to));

test('the way of a migration', () => {
  const way: MigrationStatus[] = ['PLANNED', 'SHADOWING', 'READY', 'IN_PROGRESS', 'COMPLETED', 'FINALIZED'];
  for (const [i, from] of way.entries())
    for (const [j, to] of way.entries())
      expect(mayFollow(from, to), `${from} → ${to}`).toBe(
        j === i + 1 || (from === 'READY' && to === 'SHADOWING'),
      );
});

test('before the write cutover it can pause, fail and be aborted; after it, only be finished or rolled back', () => {
  for (const from of ['PLANNED', 'SHADOWING', 'READY', 'IN_PROGRESS'] as const) {
    expect(following(from)).toEqual(expect.arrayContaining(['PAUSED', 'FAILED', 'ABORTED']));
    // and from there back to where it was
    expect(mayFollow('PAUSED', from)).toBe(true);
    expect(mayFollow('FAILED', from)).toBe(true);
  }
  expect(following('COMPLETED').sort()).toEqual(['FINALIZED', 'ROLLED_BACK']);
  expect(migrationStatuses.filter(mayAbort)).toEqual([
    'PLANNED',
    'SHADOWING',
    'READY',
    'IN_PROGRESS',
    'PAUSED',
    'FAILED',
  ]);
});

test('what is over stays over', () => {
  expect(migrationStatuses.filter(isOver)).toEqual(['FINALIZED', 'ABORTED', 'ROLLED_BACK']);
  expect(migrationStatuses.filter((status) => following(status).length === 0)).toEqual([
    'FINALIZED',
    'ABORTED',
    'ROLLED_BACK',
  ]);
});

test('nothing follows itself, and every state but the first can be reached', () => {
  for (const status of migrationStatuses) expect(mayFollow(status, status)).toBe(false);
  const reached = new Set(migrationStatuses.flatMap(following));
  expect(migrationStatuses.filter((status) => !reached.has(status))).toEqual([]);
});
