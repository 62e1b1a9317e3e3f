import { jsonb, pgTable, text } from 'drizzle-orm/pg-core';
import { time } from './columns.ts';

/** Teams that were in force, of whatever source, until somebody gives one up. */
export const knownTeams = pgTable('known_teams', {
  name: text().primaryKey(),
  /** Whom it listed; checked by whoever reads it. */
  listed: jsonb().$type<unknown>().notNull(),
  updatedAt: time().notNull(),
});
