import { and, desc, eq, gte, lt } from 'drizzle-orm';
import type { EventStore, StoredEvent } from '../../../core/events.ts';
import type { Database } from '../database.ts';
import { events } from '../schema/index.ts';

export function createEventStore(database: Database): EventStore {
  return {
    async record(recorded) {
      if (recorded.length === 0) return [];
      const rows = await database
        .insert(events)
        .values(recorded.map(({ time, ...event }) => ({ ...event, time: new Date(time) })))
        .onConflictDoNothing({ target: events.once })
        .returning();
      return rows.map(fromRow);
    },

    async list({ limit, after, kind, subject, from, to }) {
      const rows = await database
        .select()
        .from(events)
        .where(
          and(
            after === undefined ? undefined : lt(events.id, Number(after)),
            kind === undefined ? undefined : eq(events.kind, kind),
            subject === undefined ? undefined : eq(events.subject, subject),
            from === undefined ? undefined : gte(events.time, new Date(from)),
            to === undefined ? undefined : lt(events.time, new Date(to)),
          ),
        )
        .orderBy(desc(events.id))
        .limit(limit);
      return rows.map(fromRow);
    },

    async purge(before) {
      const result = await database.delete(events).where(lt(events.time, new Date(before)));
      return result.rowCount ?? 0;
    },
  };
}

function fromRow(row: typeof events.$inferSelect): StoredEvent {
  return {
    id: String(row.id),
    time: row.time.getTime(),
    kind: row.kind,
    severity: row.severity,
    subject: row.subject,
    message: row.message,
    detail: row.detail ?? undefined,
    once: row.once ?? undefined,
  };
}
