import { loadModule, parseSync } from 'libpg-query';
import type { Access } from '../core/access.ts';
import type { KeyColumn } from '../core/plan.ts';
import type { ExecutedStatement } from '../logs/statement.ts';
import { BoundedCache } from './bounded-cache.ts';
import { canonicalFor } from './canonical.ts';
import { Evaluation } from './evaluate.ts';
import { createExpressionReader } from './expression.ts';
import { type PlanTarget, planStatement, type StatementPlan } from './plan.ts';
import { type Reason, reasons } from './reason.ts';
import { representative, type Scan, scanShape } from './shape.ts';
import { type AccessStatistics, StatisticsCounter } from './statistics.ts';

export interface AccessResolverOptions {
  readonly schema: string;
  readonly table: string;
  /** the key of the table, in order; types decide how a value is written (see canonicalFor) */
  readonly key: readonly KeyColumn[];
  /** schemas in which an unqualified name is looked up; `["public"]` when absent */
  readonly searchPath?: readonly string[];
  /** the table's columns in order, for INSERT without a column list */
  readonly columns?: readonly string[];
  /** plans kept; 2,000: a few megabytes, and more shapes than an application without generated SQL has */
  readonly maxPlans?: number;
  /** unresolved shapes remembered by text; 200 */
  readonly maxShapes?: number;
}

export interface Resolution {
  /** `other`: the statement does not touch the table */
  readonly outcome: 'resolved' | 'unresolved' | 'other';
  /** known accesses; an unresolved statement may have some too */
  readonly accesses: readonly Access[];
  readonly shape: string;
  /** for `unresolved` */
  readonly reason?: Reason;
}

export interface AccessResolver {
  resolve(statement: Pick<ExecutedStatement, 'at' | 'sql' | 'params'>): Resolution;
  statistics(): AccessStatistics;
}

/** Finds out which rows of one table statements read and write. Loads the SQL parser, hence async. */
export async function createAccessResolver(options: AccessResolverOptions): Promise<AccessResolver> {
  await loadModule();
  return new Resolver(options);
}

class Resolver implements AccessResolver {
  private readonly target: PlanTarget;
  private readonly canonical;
  private readonly plans: BoundedCache<readonly StatementPlan[]>;
  /** scans of statements that came with parameters: their text repeats, character by character */
  private readonly scans: BoundedCache<Scan>;
  private readonly counter: StatisticsCounter;

  constructor(options: AccessResolverOptions) {
    this.target = {
      schema: options.schema,
      table: options.table,
      key: options.key.map((column) => column.name),
      searchPath: options.searchPath ?? ['public'],
      columns: options.columns,
    };
    this.canonical = options.key.map((column) => canonicalFor(column.type));
    this.plans = new BoundedCache(options.maxPlans ?? 2000);
    this.scans = new BoundedCache(500);
    this.counter = new StatisticsCounter(options.maxShapes ?? 200);
  }

  resolve(statement: Pick<ExecutedStatement, 'at' | 'sql' | 'params'>): Resolution {
    const scan = this.scan(statement);
    let plans = this.plans.get(scan.shape);
    if (!plans) {
      plans = this.plan(scan);
      this.plans.set(scan.shape, plans);
    }
    const evaluation = new Evaluation(scan, statement.params, this.canonical);
    let touched = false;
    let accesses: Access[] = [];
    for (const plan of plans) {
      if (plan.steps.length === 0 && plan.reasons.length === 0) continue;
      touched = true;
      const found = evaluation.run(plan, statement.at);
      accesses = accesses.length === 0 ? found : [...accesses, ...found];
    }
    const { reason } = evaluation;
    const outcome = !touched ? 'other' : reason ? 'unresolved' : 'resolved';
    this.counter.count(outcome, accesses.length);
    if (!reason) return { outcome, accesses, shape: scan.shape };
    this.counter.unresolved(scan.shape, reason);
    return { outcome, accesses, shape: scan.shape, reason };
  }

  statistics(): AccessStatistics {
    return this.counter.snapshot();
  }

  private scan({ sql, params }: Pick<ExecutedStatement, 'sql' | 'params'>): Scan {
    if (params === null) return scanShape(sql);
    let scan = this.scans.get(sql);
    if (!scan) {
      scan = scanShape(sql);
      this.scans.set(sql, scan);
    }
    return scan;
  }

  /** One plan for each statement in the text. */
  private plan(scan: Scan): StatementPlan[] {
    const { sql, valueStarts } = representative(scan);
    this.counter.parses++;
    try {
      const readExpression = createExpressionReader(sql, valueStarts);
      const { stmts } = parseSync(sql);
      return (stmts ?? []).flatMap(({ stmt }) =>
        stmt ? [planStatement(stmt, this.target, readExpression)] : [],
      );
    } catch {
      const mayTouch = sql.toLowerCase().includes(this.target.table.toLowerCase());
      return mayTouch ? [{ steps: [], reasons: [reasons.unparsed] }] : [];
    }
  }
}
