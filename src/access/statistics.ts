import { type Reason, reasons } from './reason.ts';

export interface UnresolvedShape {
  readonly shape: string;
  readonly count: number;
  readonly reason: Reason;
}

export interface AccessStatistics {
  /** statements looked at */
  readonly executions: number;
  /** touched the table, and all their rows are known */
  readonly resolved: number;
  /** touched the table, or may have, and not all their rows are known */
  readonly unresolved: number;
  /** did not touch the table */
  readonly other: number;
  readonly accesses: number;
  /** most frequent first */
  readonly unresolvedShapes: readonly UnresolvedShape[];
  /** executions of unresolved shapes beyond the number that is remembered */
  readonly unresolvedElsewhere: number;
  /** how often the SQL parser ran: far less than `executions`, or the shapes are too fine */
  readonly parses: number;
}

const shapeLength = 400;

export class StatisticsCounter {
  private counts = {
    executions: 0,
    resolved: 0,
    unresolved: 0,
    other: 0,
    accesses: 0,
    unresolvedElsewhere: 0,
  };
  private readonly shapes = new Map<string, { shape: string; count: number; reason: Reason }>();
  private readonly maxShapes: number;
  parses = 0;

  constructor(maxShapes: number) {
    this.maxShapes = maxShapes;
  }

  count(outcome: 'resolved' | 'unresolved' | 'other', accesses: number): void {
    this.counts.executions++;
    this.counts[outcome]++;
    this.counts.accesses += accesses;
  }

  unresolved(given: string, reason: Reason): void {
    // where the parser gives up, the scan may have taken a part of a value for a word: what comes before the first
    // value is safe to tell
    const first = reason === reasons.unparsed ? given.indexOf('?') : -1;
    const shape = first < 0 ? given : `${given.slice(0, first)}…`;
    const text = shape.length > shapeLength ? `${shape.slice(0, shapeLength)}…` : shape;
    // one shape may be left open for several reasons
    const name = `${reason}\0${text}`;
    const known = this.shapes.get(name);
    if (known) known.count++;
    else if (this.shapes.size < this.maxShapes) this.shapes.set(name, { shape: text, count: 1, reason });
    else this.counts.unresolvedElsewhere++;
  }

  snapshot(): AccessStatistics {
    const unresolvedShapes = [...this.shapes.values()].map((entry) => ({ ...entry }));
    unresolvedShapes.sort((a, b) => b.count - a.count || (a.shape < b.shape ? -1 : 1));
    return { ...this.counts, unresolvedShapes, parses: this.parses };
  }
}
