import { defineConfig } from 'vitest/config';

/** Suites that start real servers: one file at a time, so that two cores are enough and ports stay ours. */
function serialProject(name: string) {
  return {
    extends: true as const,
    test: {
      name,
      include: [`test/${name}/**/*.test.ts`],
      fileParallelism: false,
      testTimeout: 120_000,
      hookTimeout: 180_000,
      teardownTimeout: 30_000,
    },
  };
}

export default defineConfig({
  test: {
    pool: 'forks',
    restoreMocks: true,
    unstubEnvs: true,
    // A second, as vitest has it, is soon over where the machine stalls; who is not kept waiting loses nothing.
    expect: { poll: { timeout: 20_000 } },
    coverage: { provider: 'v8', include: ['src/**/*.ts'], exclude: ['src/**/*.test.ts'] },
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: ['{src,bench,test/unit,test/support}/**/*.test.ts'],
          testTimeout: 30_000,
          hookTimeout: 60_000,
          // Many wait for a store to start; vitest would leave one core to itself, and so use one of two.
          maxWorkers: 2,
        },
      },
      serialProject('data-plane'),
      serialProject('clients'),
      serialProject('system'),
    ],
  },
});
