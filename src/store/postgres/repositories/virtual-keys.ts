import { and, desc, eq, gt, isNull, or, sql } from 'drizzle-orm';
import type { StoredKey, VirtualKeyStore } from '../../../core/configuration-store.ts';
import type { Database } from '../database.ts';
import { nextRevision, recordChanges, type RecordedChange } from '../record-changes.ts';
import { virtualKeys } from '../schema/index.ts';

export function createVirtualKeyStore(database: Database): VirtualKeyStore {
  return {
    create: (key, actor) =>
      database.transaction(async (transaction) => {
        const number = await nextRevision(transaction);
        await transaction.insert(virtualKeys).values(toRow(key));
        await recordChanges(transaction, number, actor, [recorded('create', key.id)]);
      }),

    async list({ limit, after }) {
      const older =
        after === undefined
          ? undefined
          : sql`(${virtualKeys.createdAt}, ${virtualKeys.id}) < (select created_at, id from ${virtualKeys} where id = ${after})`;
      const rows = await database
        .select()
        .from(virtualKeys)
        .where(older)
        .orderBy(desc(virtualKeys.createdAt), desc(virtualKeys.id))
        .limit(limit);
      return rows.map(fromRow);
    },

    async get(id) {
      const [row] = await database.select().from(virtualKeys).where(eq(virtualKeys.id, id));
      return row && fromRow(row);
    },

    revoke: (id, at, actor) =>
      database.transaction(async (transaction) => {
        const [key] = await transaction
          .select()
          .from(virtualKeys)
          .where(eq(virtualKeys.id, id))
          .for('update');
        if (!key || key.revokedAt) return key && fromRow(key);
        const number = await nextRevision(transaction);
        const [revoked] = await transaction
          .update(virtualKeys)
          .set({ revokedAt: new Date(at) })
          .where(eq(virtualKeys.id, id))
          .returning();
        await recordChanges(transaction, number, actor, [recorded('revoke', id)]);
        return revoked && fromRow(revoked);
      }),

    async listActive(now) {
      const alive = or(isNull(virtualKeys.expiresAt), gt(virtualKeys.expiresAt, new Date(now)));
      const rows = await database
        .select({
          id: virtualKeys.id,
          hash: virtualKeys.hash,
          user: virtualKeys.owner,
          team: virtualKeys.team,
          models: virtualKeys.models,
          expiresAt: virtualKeys.expiresAt,
        })
        .from(virtualKeys)
        .where(and(isNull(virtualKeys.revokedAt), alive));
      return rows.map((row) => ({
        ...row,
        team: row.team ?? undefined,
        models: row.models ?? undefined,
        expiresAt: row.expiresAt?.getTime(),
      }));
    },
  };
}

function recorded(action: RecordedChange['action'], id: string): RecordedChange {
  return { action, entity: 'virtual_key', id };
}

function toRow(key: StoredKey): typeof virtualKeys.$inferInsert {
  return {
    id: key.id,
    hash: key.hash,
    prefix: key.prefix,
    hint: key.hint,
    name: key.name ?? null,
    owner: key.user,
    team: key.team ?? null,
    models: key.models ? [...key.models] : null,
    createdAt: new Date(key.createdAt),
    expiresAt: key.expiresAt === undefined ? null : new Date(key.expiresAt),
    revokedAt: key.revokedAt === undefined ? null : new Date(key.revokedAt),
  };
}

function fromRow(row: typeof virtualKeys.$inferSelect): StoredKey {
  return {
    id: row.id,
    hash: row.hash,
    prefix: row.prefix,
    hint: row.hint,
    name: row.name ?? undefined,
    user: row.owner,
    team: row.team ?? undefined,
    models: row.models ?? undefined,
    createdAt: row.createdAt.getTime(),
    expiresAt: row.expiresAt?.getTime(),
    revokedAt: row.revokedAt?.getTime(),
  };
}
