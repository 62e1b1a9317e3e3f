import { index, pgTable, text } from 'drizzle-orm/pg-core';
import { time } from './columns.ts';

/** Tokens that are no longer good although their signature is. */
export const revocations = pgTable(
  'revocations',
  {
    id: text().primaryKey(),
    kind: text({ enum: ['jti', 'subject', 'issuer'] }).notNull(),
    value: text().notNull(),
    /** Tokens issued at or before it are refused. */
    before: time().notNull(),
    /** After it no such token can be alive. */
    until: time().notNull(),
    reason: text(),
    actor: text().notNull(),
    createdAt: time().notNull(),
  },
  (table) => [
    index('revocations_newest').on(table.createdAt.desc().nullsFirst(), table.id.desc().nullsFirst()),
    index('revocations_until').on(table.until),
  ],
);
