import { jsonb, pgTable, text } from 'drizzle-orm/pg-core';
import { time } from './columns.ts';

/** Teams that were in force, of whatever source, until somebody gives one up. */
export const knownTeams = pgTable('known_teams', {
  name: text().primaryKey(),
  /** Whom it listed and how it bounded them; checked by whoever reads it. */
  team: jsonb().$type<unknown>().notNull(),
  updatedAt: time().notNull(),
});
