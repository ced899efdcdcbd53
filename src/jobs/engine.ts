import type { Config } from '../config/config.ts';
import { type Context, createContext } from '../context.ts';
import { Lives } from './lives.ts';
import { ScoreDesk, type ScoresReply } from './scores.ts';
import { JobWorker, type WorkerState } from './worker.ts';

/** Live features, scores and jobs of one process: all that computes. HTTP talks to it from another thread. */
export class Engine {
  readonly #ctx: Context;
  readonly #lives: Lives;
  readonly #desk: ScoreDesk;
  readonly #worker: JobWorker | null;

  private constructor(ctx: Context, lives: Lives, worker: JobWorker | null) {
    this.#ctx = ctx;
    this.#lives = lives;
    this.#worker = worker;
    this.#desk = new ScoreDesk(ctx, lives);
  }

  /** @param options.jobs take part in the work; without it only scores are served */
  static async start(config: Config, options: { readonly jobs: boolean }): Promise<Engine> {
    const ctx = await createContext(config);
    try {
      const lives = new Lives(ctx);
      return new Engine(ctx, lives, options.jobs ? await JobWorker.start(ctx, lives) : null);
    } catch (error) {
      await ctx.close();
      throw error;
    }
  }

  scores(body: Uint8Array): Promise<ScoresReply> {
    return this.#desk.answer(body);
  }

  state(): WorkerState {
    return this.#worker?.state() ?? { running: [], done: 0, failed: 0 };
  }

  async stop(graceMs: number): Promise<void> {
    await this.#worker?.stop(graceMs);
    this.#lives.dispose();
    await this.#ctx.close();
  }
}
