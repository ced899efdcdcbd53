/** The public surface of the library. Everything else may change without notice. */
export { type Config, loadConfig } from './config/config.ts';
export { MigrationFile, parseMigrationFile, readMigrationFile } from './config/migration-file.ts';
export { type Context, createContext } from './context.ts';
export type { Access, AccessOp } from './core/access.ts';
export { catalogue, type ErrorCode, ForeshadowError } from './core/errors.ts';
export type { Key, KeyId } from './core/key.ts';
export type { MigrationStatus, RouteTo, Stratum } from './core/states.ts';
export { type EmbeddedPostgres, startEmbedded } from './db/embedded.ts';
export { initSchema } from './db/migrate.ts';
export { abort, uninstall } from './migration/abort.ts';
export { preflight } from './migration/preflight/preflight.ts';
export { describeMigration, type StatusDocument } from './migration/status.ts';
export { loadModel, saveModel, trainModel } from './model/index.ts';
export { type PipelineEvent, type RunOptions, runMigration } from './pipeline.ts';
