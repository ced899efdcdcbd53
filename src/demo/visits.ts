import type { Rng } from '../core/rng.ts';

export interface VisitOptions {
  readonly atOnce: number;
  /** seconds */
  readonly shortest: number;
  readonly longest: number;
  readonly rng: Rng;
  /** the customer who comes next */
  readonly draw: (at: number) => number;
}

interface Visit {
  readonly customer: number;
  readonly until: number;
  /** how busy the visitor is, 0–1; a few are much busier than the rest */
  readonly pace: number;
}

/** Who is in the shop: customers come at a steady rate, stay for a while, and look at their orders all the time. */
export class Visits {
  private readonly options: VisitOptions;
  private readonly visits: Visit[] = [];
  private nextAt = 0;

  constructor(options: VisitOptions) {
    this.options = options;
    const { atOnce, longest, rng } = options;
    // the shop opens full, so that its first minute is like every other
    for (let i = 0; i < atOnce; i++) this.enter(0, rng() * longest);
  }

  /** One of the customers present, the busy ones more often. Times must not go back. */
  visitor(at: number): number {
    const { atOnce, shortest, longest, rng } = this.options;
    while (this.nextAt <= at) {
      this.enter(this.nextAt, this.nextAt + shortest + (longest - shortest) * rng());
      this.nextAt += (-Math.log(1 - rng()) * (shortest + longest)) / 2 / atOnce;
    }
    while (this.visits.length > 0) {
      const place = Math.floor(rng() * this.visits.length);
      const visit = this.visits[place]!;
      if (visit.until < at) {
        this.visits[place] = this.visits.at(-1)!;
        this.visits.pop();
      } else if (rng() < visit.pace) return visit.customer;
    }
    return this.options.draw(at);
  }

  private enter(at: number, until: number): void {
    const { draw, rng } = this.options;
    this.visits.push({ customer: draw(at), until, pace: Math.max(0.05, rng() ** 2) });
  }
}
