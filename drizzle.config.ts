import { defineConfig } from 'drizzle-kit';

// After a change of the schema: npx drizzle-kit generate --name WHAT
export default defineConfig({
  dialect: 'postgresql',
  casing: 'snake_case',
  schema: './src/store/postgres/schema/index.ts',
  out: './src/store/postgres/migrations',
});
