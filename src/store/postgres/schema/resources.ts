import { integer, jsonb, pgTable, primaryKey, text } from 'drizzle-orm/pg-core';
import { time } from './columns.ts';

/** Resources made through the admin API; a deleted one stays, so that its generation goes on counting. */
export const resources = pgTable(
  'resources',
  {
    kind: text().notNull(),
    name: text().notNull(),
    labels: jsonb().$type<Readonly<Record<string, string>>>(),
    /** Secret values in here are sealed. */
    spec: jsonb().$type<unknown>().notNull(),
    generation: integer().notNull(),
    createdAt: time().notNull(),
    updatedAt: time().notNull(),
    deletedAt: time(),
  },
  (table) => [primaryKey({ columns: [table.kind, table.name] })],
);
