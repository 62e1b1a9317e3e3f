import { sql } from 'drizzle-orm';
import { boolean, pgTable, text } from 'drizzle-orm/pg-core';
import { time } from './columns.ts';

/** Users by their canonical subject. What tokens claim stands apart from what was set here. */
export const users = pgTable('users', {
  id: text().primaryKey(),
  /** Name of the IdentityProvider whose token made it; none for one that the admin API made. */
  provider: text(),
  claimedEmail: text(),
  claimedName: text(),
  claimedGroups: text()
    .array()
    .notNull()
    .default(sql`'{}'`),
  claimedTenant: text(),
  /** When the token was issued that claimed it. */
  claimedAt: time(),
  email: text(),
  name: text(),
  groups: text()
    .array()
    .notNull()
    .default(sql`'{}'`),
  roles: text()
    .array()
    .notNull()
    .default(sql`'{}'`),
  team: text(),
  tenant: text(),
  disabled: boolean().notNull().default(false),
  createdAt: time().notNull(),
  lastSeenAt: time(),
});
