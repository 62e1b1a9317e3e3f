import { bigint, check, integer, pgTable, primaryKey, text } from 'drizzle-orm/pg-core';
import { sql } from 'drizzle-orm';
import { time } from './columns.ts';

/**
 * One row that counts every change. Each transaction that changes something updates it, so changes come one
 * after the other and the count is the order in which they became visible.
 */
export const revision = pgTable(
  'revision',
  { id: integer().primaryKey(), value: bigint({ mode: 'number' }).notNull() },
  (table) => [check('revision_is_one_row', sql`${table.id} = 1`)],
);

/** Who changed what, and when. */
export const changes = pgTable(
  'changes',
  {
    /** The revision that the change made, and its place within that. */
    revision: bigint({ mode: 'number' }).notNull(),
    position: integer().notNull(),
    time: time().notNull(),
    actor: text().notNull(),
    action: text({
      enum: ['put', 'delete', 'create', 'revoke', 'rotate', 'restore', 'purge', 'end grace', 'sign in'],
    }).notNull(),
    entity: text({ enum: ['resource', 'virtual_key', 'user', 'revocation'] }).notNull(),
    /** Kind and name of the resource, or id of what else it is. */
    entityId: text().notNull(),
  },
  (table) => [primaryKey({ columns: [table.revision, table.position] })],
);
