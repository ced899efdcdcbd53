import { expect, it, onTestFinished } from 'vitest';
import type { Clock } from '../../src/core/clock.ts';
import type { Lanes } from '../../src/sync/lanes.ts';
import { copying, slowProbe, until } from '../support/copying.ts';

/** Four seconds in one; it stands still while this process does. */
function quickClock(): Clock {
  let now = 0;
  const waiting = new Set<() => void>();
  const ticking = setInterval(() => {
    now += 0.02;
    for (const look of waiting) look();
  }, 5);
  onTestFinished(() => clearInterval(ticking));
  return {
    now: () => now,
    sleep: (ms, signal) =>
      new Promise((resolve, reject) => {
        const until = now + ms / 1000;
        const look = () => {
          if (!signal?.aborted && now < until) return;
          waiting.delete(look);
          if (signal?.aborted) reject(signal.reason);
          else resolve();
        };
        waiting.add(look);
      }),
  };
}

/** The copy stands for a look, and goes on. */
async function stand(lanes: Lanes): Promise<void> {
  await until(() => lanes.pace.share === 0);
  await until(() => lanes.pace.share > 0);
}

const probed = { copy: { rowsPerSecond: 200, chunkRows: 20 }, throttle: { probe: slowProbe, maxLatency: 2 } };

it('what is slow without the copy too does not hold it back for long', async () => {
  const { m, lanes, throttle } = await copying(probed, quickClock());
  await stand(lanes);
  await m.sql('update public.slowness set s = 0.03');
  await until(() => throttle.drive.source === 'latency' && throttle.drive.share < 0.25);
  await until(() => (throttle.state.baseline_ms ?? 0) >= 30);
  await until(() => !throttle.drive.held && throttle.drive.share > 0.25);
});

it('a stand ends after five seconds, whatever the look is at', async () => {
  const { m, lanes, throttle } = await copying(probed, quickClock());
  await m.sql('update public.slowness set s = 0.3');
  await until(() => lanes.pace.share === 0); // ten probes of 0.3 s: 12 s of the clock
  const before = throttle.state.latency_ms;
  await until(() => lanes.pace.share > 0);
  expect(throttle.state.latency_ms, 'the look is not over').toBe(before);
});

it("work that is not the lanes' is no time without a copy", async () => {
  const clock = quickClock();
  const { m, lanes, throttle } = await copying(
    { ...probed, copy: { chunkRows: 20, rowsPerSecond: 100_000 } },
    clock,
  );
  await until(() => m.copied());
  await until(() => (throttle.state.baseline_ms ?? 99) < 20);
  let over = false;
  const work = throttle.during(() => until(() => over));
  await m.sql('update public.slowness set s = 0.05');
  await until(() => (throttle.state.latency_ms ?? 0) >= 50);
  const seen = clock.now();
  await until(() => clock.now() > seen + 20);
  expect(throttle.state.baseline_ms).toBeLessThan(20);
  over = true;
  await work;
  // and afterwards it is one
  await until(() => (throttle.state.baseline_ms ?? 0) >= 50);
  expect(lanes.pace.share).toBeGreaterThan(0);
});

it('another kind of work begins gently, unless it is held back already', async () => {
  const { lanes, throttle } = await copying({}, quickClock());
  await until(() => throttle.drive.share === 1);
  throttle.beginGently();
  expect(throttle.drive).toMatchObject({ share: 0.1, held: false });
  await until(() => lanes.pace.share > 0 && lanes.pace.share < 1);
  await until(() => throttle.drive.share === 1);
});
