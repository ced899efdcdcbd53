import { loadModule, parseSync } from 'libpg-query';
import type { Access, AccessOp } from '../core/access.ts';
import type { KeyColumn } from '../core/plan.ts';
import type { ExecutedStatement } from '../logs/statement.ts';
import { BoundedCache } from './bounded-cache.ts';
import { type Canonical, canonicalFor } from './canonical.ts';
import { type Command, commandOf, pathChange } from './command.ts';
import { Evaluation } from './evaluate.ts';
import { createExpressionReader } from './expression.ts';
import { type FastPlan, fastPlan, keyInParameters, keyInText } from './fast.ts';
import { type PlanTarget, planStatement, type StatementPlan } from './plan.ts';
import { type Reason, reasons } from './reason.ts';
import type { Routines } from './routines.ts';
import { type Prepared, Sessions } from './session.ts';
import { representative, type Scan, scanShape } from './shape.ts';
import { type AccessStatistics, StatisticsCounter } from './statistics.ts';
import { TemplateIndex } from './template.ts';
import { type ViewDefinition, viewsOf, visibleViews } from './views.ts';

export interface AccessResolverOptions {
  readonly schema: string;
  readonly table: string;
  /** the key of the table, in order; types decide how a value is written (see canonicalFor) */
  readonly key: readonly KeyColumn[];
  /** schemas in which an unqualified name is looked up; `["public"]` when absent. `$user` is the statement's user. */
  readonly searchPath?: readonly string[];
  /** users whose sessions begin with another search path */
  readonly searchPathOf?: ReadonlyMap<string, readonly string[]>;
  /** other schemas with a relation of this name */
  readonly namesakes?: readonly string[];
  /** views over the table; a view counts as the query that it is */
  readonly views?: readonly ViewDefinition[];
  /** functions and procedures whose bodies may touch the table, by name; absent: no catalogue is at hand */
  readonly routines?: ReadonlySet<string>;
  /** columns by whose value rows may be looked up where the key is not told; none when absent */
  readonly lookups?: readonly KeyColumn[];
  /** the table's columns in order, for INSERT without a column list */
  readonly columns?: readonly string[];
  /** plans kept; 2,000: a few megabytes, and more shapes than an application without generated SQL has */
  readonly maxPlans?: number;
  /** unresolved shapes remembered by text; 200 */
  readonly maxShapes?: number;
}

export interface Resolution {
  /** `other`: the statement does not touch the table */
  readonly outcome: 'resolved' | 'unresolved' | 'other' | 'lookup';
  /** known accesses; an unresolved statement may have some too */
  readonly accesses: readonly Access[];
  readonly shape: string;
  /** for `unresolved` */
  readonly reason?: Reason;
  /** for `lookup`: counted when it is settled */
  readonly lookup?: Lookup;
}

/** A statement whose rows can be told by values of other columns, if somebody looks them up. */
export interface Lookup {
  readonly at: number;
  readonly weight: number;
  readonly shape: string;
  readonly wanted: readonly {
    readonly column: number;
    readonly op: AccessOp;
    readonly values: readonly string[];
  }[];
}

/** Without a session, nothing is remembered from one statement to the next. */
export type ResolvableStatement = Pick<ExecutedStatement, 'at' | 'sql' | 'params'> &
  Partial<Pick<ExecutedStatement, 'session' | 'user' | 'truncated' | 'prepare' | 'weight'>>;

export interface AccessResolver {
  resolve(statement: ResolvableStatement): Resolution;
  /** Counts a lookup, as resolved when there is no reason against it. */
  settle(lookup: Lookup, accesses: number, reason?: Reason): void;
  statistics(): AccessStatistics;
}

/** Finds out which rows of one table statements read and write. Loads the SQL parser, hence async. */
export async function createAccessResolver(options: AccessResolverOptions): Promise<AccessResolver> {
  await loadModule();
  return new Resolver(options);
}

/** What is known of a shape: its statements in order, and the short way where there is one. */
interface Entry {
  readonly items: readonly (StatementPlan | Command)[];
  /** `other`: touches nothing of ours */
  readonly fast: FastPlan | 'other' | null;
}

/** The plans that hold under one search path. */
interface Variant {
  readonly target: PlanTarget;
  readonly plans: BoundedCache<Entry>;
  /** statements that came with parameters: their text repeats, character by character */
  readonly texts: BoundedCache<{ readonly scan: Scan; readonly entry: Entry }>;
  readonly templates: TemplateIndex<Entry>;
}

const none: readonly Access[] = [];
const maxVariants = 20;

class Resolver implements AccessResolver {
  private readonly options: AccessResolverOptions;
  private readonly views;
  private readonly canonical: readonly Canonical[];
  private readonly lookupCanonical: readonly Canonical[];
  private readonly variants: BoundedCache<Variant>;
  private readonly usual: Variant;
  private readonly sessions = new Sessions();
  private readonly counter: StatisticsCounter;
  /** the schemas that decide what an unqualified name means */
  private readonly relevant: ReadonlySet<string>;

  constructor(options: AccessResolverOptions) {
    this.options = options;
    this.views = viewsOf(options.views ?? []);
    this.canonical = options.key.map((column) => canonicalFor(column.type));
    this.lookupCanonical = (options.lookups ?? []).map((column) => canonicalFor(column.type));
    this.counter = new StatisticsCounter(options.maxShapes ?? 200);
    this.relevant = new Set([
      options.schema,
      ...(options.namesakes ?? []),
      ...this.views.map(({ schema }) => schema),
    ]);
    this.variants = new BoundedCache(maxVariants);
    this.usual = this.variantOf(options.searchPath ?? ['public']);
  }

  resolve(statement: ResolvableStatement): Resolution {
    const variant = this.variantFor(statement);
    const { sql, params } = statement;
    if (params === null) {
      const { templates } = variant;
      const template = templates.match(sql);
      if (template) {
        const { entry, shape } = template;
        if (entry.fast === 'other') return this.other(shape);
        if (entry.fast) {
          const key = keyInText(entry.fast, this.canonical[0] as Canonical, sql, template.kinds, templates);
          if (key !== undefined) return this.one(statement, entry.fast.op, key, shape);
        }
        return this.evaluate(statement, variant, templates.scan(template, sql), entry);
      }
      const scan = scanShape(sql);
      const entry = this.entry(variant, scan);
      templates.learn(scan, entry);
      return this.evaluate(statement, variant, scan, entry);
    }
    const known = this.known(variant, sql);
    const { fast } = known.entry;
    if (fast === 'other') return this.other(known.scan.shape);
    if (fast && !statement.truncated) {
      const key = keyInParameters(fast, this.canonical[0] as Canonical, known.scan, params);
      if (key !== undefined) return this.one(statement, fast.op, key, known.scan.shape);
    }
    return this.evaluate(statement, variant, known.scan, known.entry);
  }

  statistics(): AccessStatistics {
    return this.counter.snapshot();
  }

  settle({ shape }: Lookup, accesses: number, reason?: Reason): void {
    this.counter.count(reason ? 'unresolved' : 'resolved', accesses);
    if (reason) this.counter.unresolved(shape, reason);
  }

  private other(shape: string): Resolution {
    this.counter.count('other', 0);
    return { outcome: 'other', accesses: none, shape };
  }

  private one(
    { at, weight }: ResolvableStatement,
    op: FastPlan['op'],
    key: string,
    shape: string,
  ): Resolution {
    this.counter.count('resolved', 1);
    const access = weight === undefined || weight === 1 ? { key, op, at } : { key, op, at, weight };
    return { outcome: 'resolved', accesses: [access], shape };
  }

  /** The log gives the PREPARE beside an EXECUTE of the simple protocol. */
  private preparedBy(sql: string | null | undefined, variant: Variant): Prepared | undefined {
    if (!sql) return undefined;
    const { scan, entry } = this.known(variant, sql);
    const command = entry.items.find((item) => 'kind' in item && item.kind === 'prepare');
    return command && 'plan' in command ? { scan, plan: command.plan } : undefined;
  }

  private evaluate(statement: ResolvableStatement, variant: Variant, scan: Scan, entry: Entry): Resolution {
    const evaluation = new Evaluation(
      scan,
      statement.params,
      this.canonical,
      statement.truncated,
      this.lookupCanonical,
    );
    let touched = false;
    let accesses: Access[] = [];
    let reason: Reason | undefined;
    const run = (plan: StatementPlan, by: Evaluation) => {
      if (plan.steps.length === 0 && plan.reasons.length === 0) return;
      touched = true;
      const found = by.run(plan, statement.at);
      if (by !== evaluation) evaluation.lookups.push(...by.lookups);
      reason ??= by.reason;
      accesses = accesses.length === 0 ? found : [...accesses, ...found];
    };
    let { items } = entry;
    for (let i = 0; i < items.length; i++) {
      const item = items[i] as StatementPlan | Command;
      if (!('kind' in item)) run(item, evaluation);
      else if (item.kind === 'execute') {
        const prepared =
          this.preparedBy(statement.prepare, variant) ??
          this.sessions.prepared(statement.session ?? '', item.name);
        if (prepared) {
          const args = item.args.map((arg) => evaluation.argument(arg));
          run(prepared.plan, new Evaluation(prepared.scan, args, this.canonical, null, this.lookupCanonical));
        } else {
          touched = true;
          reason ??= reasons.execute;
        }
      } else {
        this.obey(item, statement, scan);
        // what follows in the same message is found by the new path
        if (item.kind === 'path') items = this.entry(this.variantFor(statement), scan).items;
      }
    }
    const { weight = 1 } = statement;
    if (weight !== 1) accesses = accesses.map((access) => ({ ...access, weight }));
    if (!reason && evaluation.lookups.length > 0) {
      const lookup = { at: statement.at, weight, shape: scan.shape, wanted: evaluation.lookups };
      return { outcome: 'lookup', accesses, shape: scan.shape, lookup };
    }
    const outcome = !touched ? 'other' : reason ? 'unresolved' : 'resolved';
    this.counter.count(outcome, accesses.length);
    if (!reason) return { outcome, accesses, shape: scan.shape };
    this.counter.unresolved(scan.shape, reason);
    return { outcome, accesses, shape: scan.shape, reason };
  }

  private obey(
    command: Exclude<Command, { kind: 'execute' }>,
    { session, sql }: ResolvableStatement,
    scan: Scan,
  ) {
    if (session === undefined) return;
    switch (command.kind) {
      case 'prepare':
        this.sessions.prepare(session, command.name, { scan, plan: command.plan });
        break;
      case 'deallocate':
        this.sessions.deallocate(session, command.name);
        break;
      case 'end':
        this.sessions.transactionEnds(session);
        break;
      case 'path':
        for (const { stmt } of parseSync(sql).stmts ?? []) {
          const change = stmt && pathChange(stmt);
          if (!change) continue;
          this.sessions.setPath(session, change.path, change.local);
          if (change.everything) this.sessions.deallocate(session, null);
        }
    }
  }

  /** For texts that repeat as they are. */
  private known(variant: Variant, sql: string): { readonly scan: Scan; readonly entry: Entry } {
    let known = variant.texts.get(sql);
    if (!known) {
      const scan = scanShape(sql);
      known = { scan, entry: this.entry(variant, scan) };
      variant.texts.set(sql, known);
    }
    return known;
  }

  private entry(variant: Variant, scan: Scan): Entry {
    let entry = variant.plans.get(scan.shape);
    if (!entry) {
      const items = this.plan(variant.target, scan);
      entry = { items, fast: fastPlan(items, this.canonical.length) };
      variant.plans.set(scan.shape, entry);
    }
    return entry;
  }

  /** One plan or command for each statement in the text. */
  private plan(target: PlanTarget, scan: Scan): (StatementPlan | Command)[] {
    const { sql, valueStarts } = representative(scan);
    this.counter.parses++;
    try {
      const read = createExpressionReader(sql, valueStarts);
      const { stmts } = parseSync(sql);
      return (stmts ?? []).flatMap(({ stmt }) =>
        stmt ? [commandOf(stmt, target, read) ?? planStatement(stmt, target, read)] : [],
      );
    } catch {
      const mayTouch = sql.toLowerCase().includes(target.table.toLowerCase());
      return mayTouch ? [{ steps: [], reasons: [reasons.unparsed] }] : [];
    }
  }

  private variantFor({ session, user }: ResolvableStatement): Variant {
    const { searchPathOf, searchPath } = this.options;
    const set = this.sessions.some && session !== undefined ? this.sessions.pathOf(session) : undefined;
    const path = set ?? (user === undefined ? undefined : searchPathOf?.get(user));
    if (path) return this.variantOf(path, user);
    return searchPath?.includes('$user') ? this.variantOf(searchPath, user) : this.usual;
  }

  private variantOf(path: readonly string[], user?: string): Variant {
    const schemas = path
      .map((schema) => (schema === '$user' ? (user ?? '$user') : schema))
      .filter((schema) => this.relevant.has(schema));
    const name = schemas.join('\0');
    let variant = this.variants.get(name);
    if (!variant) {
      variant = this.newVariant(schemas);
      this.variants.set(name, variant);
    }
    return variant;
  }

  private newVariant(schemas: readonly string[]): Variant {
    const { options } = this;
    const holders = new Set([options.schema, ...(options.namesakes ?? [])]);
    const routines: Routines = options.routines ? { known: options.routines } : null;
    const maxPlans = options.maxPlans ?? 2000;
    return {
      target: {
        schema: options.schema,
        table: options.table,
        key: options.key.map((column) => column.name),
        keyColumns: options.key,
        columns: options.columns,
        found: schemas.find((schema) => holders.has(schema)) === options.schema,
        views: visibleViews(this.views, schemas),
        routines,
        lookups: options.lookups ?? [],
      },
      plans: new BoundedCache(maxPlans),
      texts: new BoundedCache(500),
      templates: new TemplateIndex(),
    };
  }
}
