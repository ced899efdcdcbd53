import type { FastifyInstance, FastifyRequest } from 'fastify';
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import { migrationStatuses } from '../core/states.ts';
import type { Backend } from './backend.ts';
import { migrationFigures } from './metrics.queries.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** an answer without end, whose duration means nothing */
    endless?: boolean;
  }
}

export interface Metrics {
  readonly scoredKeys: Counter;
  readonly streams: Gauge;
  readonly contentType: string;
  /** everything, as of now */
  text(): Promise<string>;
}

const methods = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']);

/** All series of one server. Labels are routes, states and names of migrations, never keys. */
export function installMetrics(app: FastifyInstance, backend: Backend): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry, prefix: 'foreshadow_' });
  const requests = new Histogram({
    name: 'foreshadow_http_request_duration_seconds',
    help: 'How long requests took, by route.',
    labelNames: ['method', 'route', 'status'],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers: [registry],
  });
  app.addHook('onResponse', async (request, reply) => {
    if (request.routeOptions.config?.endless) return;
    requests.observe(
      {
        method: methods.has(request.method) ? request.method : 'other',
        route: routeOf(request),
        status: reply.statusCode,
      },
      reply.elapsedTime / 1000,
    );
  });
  const scoredKeys = new Counter({
    name: 'foreshadow_scored_keys_total',
    help: 'Keys scored for clients.',
    registers: [registry],
  });
  const streams = new Gauge({
    name: 'foreshadow_event_streams',
    help: 'Streams of events that are open.',
    registers: [registry],
  });
  const refresh = databaseFigures(registry, backend);
  const text = async () => {
    await refresh();
    return registry.metrics();
  };
  return { scoredKeys, streams, contentType: registry.contentType, text };
}

/** The pattern of a route, never a path: paths hold names. */
export function routeOf(request: FastifyRequest): string {
  return request.routeOptions.url ?? '(none)';
}

/**
 * Gauges of what the database knows.
 * @returns how to bring them up to date; an unreachable database does not take the other series along
 */
function databaseFigures(registry: Registry, { ctx, queue }: Backend): () => Promise<void> {
  const gauge = (name: string, help: string, labelNames: string[]) =>
    new Gauge({ name: `foreshadow_${name}`, help, labelNames, registers: [registry] });
  const of = ['migration'];
  const state = gauge('migration_state', '1 for the state that a migration is in.', [...of, 'state']);
  const level = gauge('migration_confidence_level', 'The confidence level.', of);
  const lower = gauge('migration_confidence_lower', 'Its lower bound, which the gate looks at.', of);
  const total = gauge('migration_rows', 'Rows of the source.', of);
  const migrated = gauge('migration_migrated_rows', 'Rows that the copy has passed.', of);
  const shadow = gauge('migration_shadow_rows', 'Rows in the shadow.', of);
  const wanted = gauge('migration_shadow_wanted_rows', 'Rows that the shadow should hold.', of);
  const lag = gauge('migration_lag_seconds', 'How old changes are when they reach the target.', [
    ...of,
    'quantile',
  ]);
  const backlog = gauge('migration_backlog_changes', 'Changes that wait for the target.', of);
  const jobs = gauge('jobs', 'Jobs in the queue.', ['kind', 'state']);
  const ofMigrations = [state, level, lower, total, migrated, shadow, wanted, lag, backlog];

  const readMigrations = async () => {
    const figures = await migrationFigures(ctx.pool);
    for (const each of ofMigrations) each.reset();
    for (const m of figures) {
      const migration = m.name;
      const put = (target: Gauge, value: number | null) => {
        if (value !== null) target.set({ migration }, value);
      };
      for (const each of migrationStatuses) state.set({ migration, state: each }, each === m.status ? 1 : 0);
      put(level, m.level);
      put(lower, m.lower);
      put(total, m.rows_total);
      put(migrated, m.rows_migrated);
      put(shadow, m.shadow_rows);
      put(wanted, m.shadow_wanted);
      put(backlog, m.backlog);
      if (m.lag_p50 !== null) lag.set({ migration, quantile: '0.5' }, m.lag_p50);
      if (m.lag_p99 !== null) lag.set({ migration, quantile: '0.99' }, m.lag_p99);
    }
  };
  const readJobs = async () => {
    const counts = await queue.counts();
    jobs.reset();
    for (const { kind, state: jobState, count } of counts) jobs.set({ kind, state: jobState }, count);
  };
  const up = gauge('database_up', '1 when the figures of migrations and jobs could be read.', []);
  return async () => {
    try {
      await Promise.all([readMigrations(), readJobs()]);
      up.set(1);
    } catch (error) {
      for (const each of [...ofMigrations, jobs]) each.reset();
      up.set(0);
      ctx.log.warn({ err: error }, 'metrics of the database could not be read');
    }
  };
}
