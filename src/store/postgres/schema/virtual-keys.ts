import { index, integer, jsonb, pgTable, text } from 'drizzle-orm/pg-core';
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
    description: text(),
    labels: jsonb().$type<Readonly<Record<string, string>>>(),
    owner: text('user').notNull(),
    team: text(),
    tenant: text(),
    surfaces: text().array(),
    models: text().array(),
    tools: text().array(),
    scopes: text().array(),
    permissions: text().array(),
    inactivityDays: integer(),
    createdAt: time().notNull(),
    expiresAt: time(),
    /** To the minute. */
    lastUsedAt: time(),
    rotatedAt: time(),
    /** SHA-256 of the key before it was rotated, good until `previousExpiresAt`. */
    previousHash: text(),
    previousExpiresAt: time(),
    revokedAt: time(),
    revokedReason: text(),
    /** `revokedAt` is set with it, since control planes of a version without deletion look at that alone. */
    deletedAt: time(),
  },
  (table) => [
    // The order in which keys are listed; ids break ties of the same millisecond.
    index('virtual_keys_newest').on(table.createdAt.desc().nullsFirst(), table.id.desc().nullsFirst()),
    index('virtual_keys_owner').on(table.owner),
    index('virtual_keys_expiring').on(table.expiresAt),
  ],
);
