import { MigrationFile } from './migration-file.ts';

/** The schema that editors use: a field with a default need not be written. */
export function publishedSchema(): Record<string, unknown> {
  const relaxed = relax(JSON.parse(JSON.stringify(MigrationFile))) as Record<string, unknown>;
  return { $schema: 'https://json-schema.org/draft/2020-12/schema', ...relaxed };
}

function relax(node: unknown): unknown {
  if (Array.isArray(node)) return node.map(relax);
  if (node === null || typeof node !== 'object') return node;
  const copy = Object.fromEntries(Object.entries(node).map(([key, value]) => [key, relax(value)]));
  const { properties, required } = copy as {
    properties?: Record<string, { default?: unknown }>;
    required?: string[];
  };
  if (properties && Array.isArray(required)) {
    copy.required = required.filter((name) => properties[name]?.default === undefined);
  }
  return copy;
}
