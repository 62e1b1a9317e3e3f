import { bigint, index, jsonb, pgTable, text } from 'drizzle-orm/pg-core';
import { EVENT_KINDS, SEVERITIES } from '../../../core/events.ts';
import { time } from './columns.ts';

/** What operators may want to know of; kept for a while. */
export const events = pgTable(
  'events',
  {
    id: bigint({ mode: 'number' }).primaryKey().generatedAlwaysAsIdentity(),
    time: time().notNull(),
    kind: text({ enum: EVENT_KINDS }).notNull(),
    severity: text({ enum: SEVERITIES }).notNull(),
    subject: text().notNull(),
    message: text().notNull(),
    detail: jsonb().$type<Readonly<Record<string, unknown>>>(),
    /** Of several with one name only the first is kept. */
    once: text().unique(),
  },
  (table) => [
    index('events_time').on(table.time),
    index('events_kind').on(table.kind, table.id),
    index('events_subject').on(table.subject, table.id),
  ],
);
