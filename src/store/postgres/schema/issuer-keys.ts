import { jsonb, pgTable, text } from 'drizzle-orm/pg-core';
import { time } from './columns.ts';

/** The last good public keys of issuers, by IdentityProvider. */
export const issuerKeys = pgTable('issuer_keys', {
  provider: text().primaryKey(),
  /** Issuer and source in words: keys of another issuer, or from another place, are not its own. */
  declared: text().notNull(),
  /** Checked by whoever reads it. */
  keys: jsonb().$type<unknown>().notNull(),
  fetchedAt: time().notNull(),
});
