import { defineConfig, type TestProjectInlineConfiguration } from 'vitest/config';

/** Everything but `unit` and `property` gets a PostgreSQL server of its own, started only when such a test runs. */
const onDatabase = ['db', 'chaos', 'e2e', 'browser'];

function project(name: string): TestProjectInlineConfiguration {
  return {
    test: {
      name,
      include: [`test/${name}/**/*.test.ts`],
      testTimeout: 30_000,
      hookTimeout: 60_000,
      ...(onDatabase.includes(name)
        ? { globalSetup: ['test/support/server.setup.ts'], setupFiles: ['test/support/cleanup.setup.ts'] }
        : {}),
    },
  };
}

export default defineConfig({
  test: {
    pool: 'forks',
    // two server-bound files at a time: more would measure the machine's scheduler
    maxWorkers: 2,
    teardownTimeout: 30_000,
    passWithNoTests: true,
    projects: ['unit', 'property', ...onDatabase].map(project),
  },
});
