import { once } from 'node:events';
import { connect } from 'node:net';
import { describe, expect, test } from 'vitest';
import { copyOrders } from '../../src/demo/copy-order.ts';
import { runDemo } from '../../src/demo/demo.ts';
import type { DemoReport } from '../../src/demo/document.ts';
import { reportText } from '../../src/demo/report.ts';

/** Whether the server that a progress line told of still answers. */
async function serverOf(lines: readonly string[]): Promise<'open' | 'gone'> {
  const port = Number(/ready on port (\d+)/.exec(lines.join('\n'))?.[1]);
  const socket = connect(port, '127.0.0.1');
  const answer = await once(socket, 'connect').then(
    () => 'open' as const,
    () => 'gone' as const,
  );
  socket.destroy();
  return answer;
}

describe('the demo', () => {
  test('migrates a small shop under live traffic, and nothing is lost', { timeout: 150_000 }, async () => {
    const lines: string[] = [];
    const report = await runDemo({
      json: true,
      rows: 20_000,
      rate: 300,
      warmupSeconds: 8,
      afterSeconds: 3,
      onProgress: (line) => lines.push(line),
    });
    expect(report).toMatchObject({
      schema: 1,
      ok: true,
      rows: 20_000,
      status: 'COMPLETED',
      app: {
        errors: 0,
        stale: 0,
        error_texts: {},
        audit: { missing: 0, extra: 0, different: 0, doubtful: 0 },
      },
      verification: { missing: 0, extra: 0, different: 0 },
    } satisfies RecursivePartial<DemoReport>);
    expect(report.verification?.compared).toBeGreaterThan(19_000);
    expect(report.app.audit.compared).toBeGreaterThan(19_000);
    expect(report.app.audit.written).toBeGreaterThan(100);
    expect(Math.min(...Object.values(report.app.served))).toBeGreaterThan(100);
    keepsTheContract(report);
    showsTheOrder(report.coverage);
    expect(reportText(report)).toContain('by the order of the copy');
    expect(reportText(report)).toContain('oracle');
    expect(lines.some((line) => line.startsWith('reads are on the target'))).toBe(true);
    expect(await serverOf(lines)).toBe('gone');
  });

  test('stops when told to, and leaves nothing behind', { timeout: 60_000 }, async () => {
    const lines: string[] = [];
    const controller = new AbortController();
    const demo = runDemo({
      json: true,
      rows: 1_000,
      warmupSeconds: 60,
      signal: controller.signal,
      onProgress: (line) => {
        lines.push(line);
        if (line.startsWith('the application is at work')) controller.abort();
      },
    });
    await expect(demo).rejects.toMatchObject({ code: 'INTERRUPTED' });
    expect(await serverOf(lines)).toBe('gone');
  });
});

type RecursivePartial<T> = { [K in keyof T]?: T[K] extends object | null ? RecursivePartial<T[K]> : T[K] };

/** Every figure of the JSON document that others rely on is there, and is a number. */
function keepsTheContract(report: DemoReport): void {
  const numbers = {
    ...pick(report, ['rows', 'elapsed_s', 'time_to_reads_on_target_s', 'time_to_complete_s']),
    ...pick(report.shadow, ['fraction', 'rows', 'hit_share', 'random', 'lfu', 'lru', 'ewma', 'oracle']),
    ...pick(report.confidence, [
      'level',
      'lower',
      'upper',
      'similarity_score',
      'change_rate_factor',
      'threshold',
    ]),
    ...pick(report.app, ['reads', 'writes', 'errors']),
    ...pick(report.sync, ['lag_ms_p50', 'lag_ms_p99']),
    ...pick(report.verification, ['missing', 'extra', 'different', 'compared']),
  };
  for (const [name, value] of Object.entries(numbers)) expect(value, name).toEqual(expect.any(Number));
  for (const by of [report.app.p50_ms, report.app.p99_ms]) {
    expect(by).toEqual({ before: expect.any(Number), during: expect.any(Number), after: expect.any(Number) });
  }
  const lock = {
    kind: expect.any(String),
    wait_ms: expect.any(Number),
    hold_ms: expect.any(Number),
    attempts: expect.any(Number),
  };
  expect(report.locks.length).toBeGreaterThanOrEqual(3);
  for (const each of report.locks) expect(each).toEqual(lock);
  expect(report.shadow.oracle).toBeGreaterThanOrEqual(report.shadow.hit_share ?? 1);
}

/** Shares for every order of the copy; which one wins is for the report to say. */
function showsTheOrder(coverage: DemoReport['coverage']): void {
  expect(coverage?.reads).toBeGreaterThan(100);
  expect(coverage?.points.map((point) => point.copied)).toEqual([0.1, 0.25, 0.5, 0.75]);
  for (const shares of [...(coverage?.points ?? []), coverage?.area]) {
    for (const order of copyOrders) {
      expect(shares?.[order], order).toBeGreaterThanOrEqual(0);
      expect(shares?.[order], order).toBeLessThanOrEqual(1);
    }
    // what the shadow holds is there besides
    expect(shares?.key_order).toBeGreaterThanOrEqual(shares?.key_order_no_shadow ?? 1);
  }
}

function pick(from: object | null, names: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(names.map((name) => [name, (from as Record<string, unknown> | null)?.[name]]));
}
