import { index, pgTable, text } from 'drizzle-orm/pg-core';
import { time } from './columns.ts';

/** Virtual keys by their SHA-256; the key itself is nowhere. A revoked one stays, for the rows that name it. */
export const virtualKeys = pgTable(
  'virtual_keys',
  {
    id: text().primaryKey(),
    /** SHA-256 of the whole key, 64 lower-case hex digits. */
    hash: text().notNull().unique(),
    prefix: text().notNull(),
    /** Last four characters of the key. */
    hint: text().notNull(),
    name: text(),
    owner: text('user').notNull(),
    team: text(),
    models: text().array(),
    createdAt: time().notNull(),
    expiresAt: time(),
    revokedAt: time(),
  },
  // The order in which keys are listed; ids break ties of the same millisecond.
  (table) => [
    index('virtual_keys_newest').on(table.createdAt.desc().nullsFirst(), table.id.desc().nullsFirst()),
  ],
);
