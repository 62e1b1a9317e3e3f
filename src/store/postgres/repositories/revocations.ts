import { and, desc, eq, gt, inArray, lte, sql } from 'drizzle-orm';
import type { RevocationStore, StoredRevocation } from '../../../core/identity-store.ts';
import type { Database } from '../database.ts';
import { nextRevision, recordChanges, type RecordedChange } from '../record-changes.ts';
import { revocations } from '../schema/index.ts';

/** Each of them is a row of the record of changes. */
const MOST_AT_ONCE = 1000;

export function createRevocationStore(database: Database): RevocationStore {
  return {
    create: (revocation) =>
      database.transaction(async (transaction) => {
        const number = await nextRevision(transaction);
        await transaction.insert(revocations).values({
          ...revocation,
          before: new Date(revocation.before),
          until: new Date(revocation.until),
          createdAt: new Date(revocation.createdAt),
        });
        await recordChanges(transaction, number, revocation.actor, [recorded('create', revocation.id)]);
      }),

    async list({ limit, after }) {
      const older =
        after === undefined
          ? undefined
          : sql`(${revocations.createdAt}, ${revocations.id}) < (select created_at, id from ${revocations} where id = ${after})`;
      const rows = await database
        .select()
        .from(revocations)
        .where(older)
        .orderBy(desc(revocations.createdAt), desc(revocations.id))
        .limit(limit);
      return rows.map(fromRow);
    },

    remove: (id, actor) =>
      database.transaction(async (transaction) => {
        const [row] = await transaction.delete(revocations).where(eq(revocations.id, id)).returning();
        if (!row) return undefined;
        const number = await nextRevision(transaction);
        await recordChanges(transaction, number, actor, [recorded('delete', id)]);
        return fromRow(row);
      }),

    async listActive(now, ids) {
      const rows = await database
        .select()
        .from(revocations)
        .where(and(gt(revocations.until, new Date(now)), ids && inArray(revocations.id, [...ids])));
      return rows.map((row) => {
        const { id, kind, value, before, until } = fromRow(row);
        return { id, kind, value, before, until };
      });
    },

    purge: (now, actor) =>
      database.transaction(async (transaction) => {
        const gone = await transaction
          .delete(revocations)
          .where(
            inArray(
              revocations.id,
              transaction
                .select({ id: revocations.id })
                .from(revocations)
                .where(lte(revocations.until, new Date(now)))
                .limit(MOST_AT_ONCE),
            ),
          )
          .returning({ id: revocations.id });
        if (gone.length === 0) return 0;
        const number = await nextRevision(transaction);
        await recordChanges(
          transaction,
          number,
          actor,
          gone.map(({ id }) => recorded('purge', id)),
        );
        return gone.length;
      }),
  };
}

function recorded(action: RecordedChange['action'], id: string): RecordedChange {
  return { action, entity: 'revocation', id };
}

function fromRow(row: typeof revocations.$inferSelect): StoredRevocation {
  return {
    id: row.id,
    kind: row.kind,
    value: row.value,
    before: row.before.getTime(),
    until: row.until.getTime(),
    reason: row.reason ?? undefined,
    actor: row.actor,
    createdAt: row.createdAt.getTime(),
  };
}
