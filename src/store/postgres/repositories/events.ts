import { and, desc, eq, gte, lt } from 'drizzle-orm';
import { batchesOf } from '../../../core/batches.ts';
import type { EventStore, StoredEvent } from '../../../core/events.ts';
import type { Database } from '../database.ts';
import { events } from '../schema/index.ts';

type Row = typeof events.$inferSelect;

/** A statement has 65,535 parameters at most, of which an event takes seven. */
const MOST_AT_ONCE = 1000;

export function createEventStore(database: Database): EventStore {
  return {
    async record(recorded) {
      const rows: Row[] = [];
      for (const some of batchesOf(recorded, MOST_AT_ONCE)) {
        rows.push(
          ...(await database
            .insert(events)
            .values(some.map(({ time, ...event }) => ({ ...event, time: new Date(time) })))
            .onConflictDoNothing({ target: events.once })
            .returning()),
        );
      }
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

function fromRow(row: Row): StoredEvent {
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
