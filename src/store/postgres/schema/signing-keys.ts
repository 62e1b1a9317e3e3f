import { pgTable, text } from 'drizzle-orm/pg-core';
import { time } from './columns.ts';

/** Keys that every control plane of this database signs with. */
export const signingKeys = pgTable('signing_keys', {
  /** What they are for: `cross-app-access`. */
  name: text().primaryKey(),
  /** All of them in one text, never the same twice: who changes them says by it what was read. */
  sealed: text().notNull(),
  updatedAt: time().notNull(),
});
