import { and, desc, eq, gt, inArray, isNotNull, isNull, lte, or, sql, type SQL } from 'drizzle-orm';
import { PERMISSIONS, SURFACES, type VirtualKey } from '../../../core/access.ts';
import type { KeySettings, StoredKey, VirtualKeyStore } from '../../../core/configuration-store.ts';
import type { Database, Transaction } from '../database.ts';
import { nextRevision, recordChanges, type RecordedChange } from '../record-changes.ts';
import { virtualKeys } from '../schema/index.ts';
import { holdsText } from '../search.ts';

type Row = typeof virtualKeys.$inferSelect;

/** Stands in `revokedReason` of a key that was not revoked before it was deleted. */
const DELETED = 'deleted';
const MINUTE_MS = 60_000;
/** Keys that one transaction changes: each of them is a row of the record of changes. */
const MOST_AT_ONCE = 1000;

export function createVirtualKeyStore(database: Database): VirtualKeyStore {
  /** Changes one key as one change; nothing where the condition no longer holds. */
  const changeOne = (
    id: string,
    action: RecordedChange['action'],
    actor: string,
    change: (row: Row) => Partial<typeof virtualKeys.$inferInsert> | undefined,
  ): Promise<StoredKey | undefined> =>
    database.transaction(async (transaction) => {
      const [row] = await transaction.select().from(virtualKeys).where(eq(virtualKeys.id, id)).for('update');
      const set = row && change(row);
      if (set === undefined) return row && fromRow(row);
      const number = await nextRevision(transaction);
      const [changed] = await transaction
        .update(virtualKeys)
        .set(set)
        .where(eq(virtualKeys.id, id))
        .returning();
      await recordChanges(transaction, number, actor, [recorded(action, id)]);
      return changed && fromRow(changed);
    });

  return {
    create: (key, actor) =>
      database.transaction(async (transaction) => {
        const number = await nextRevision(transaction);
        await transaction.insert(virtualKeys).values(toRow(key));
        await recordChanges(transaction, number, actor, [recorded('create', key.id)]);
      }),

    async list({ limit, after, user, team, search, deleted = false }) {
      const older =
        after === undefined
          ? undefined
          : sql`(${virtualKeys.createdAt}, ${virtualKeys.id}) < (select created_at, id from ${virtualKeys} where id = ${after})`;
      const rows = await database
        .select()
        .from(virtualKeys)
        .where(
          and(
            older,
            user === undefined ? undefined : eq(virtualKeys.owner, user),
            team === undefined ? undefined : eq(virtualKeys.team, team),
            deleted ? undefined : isNull(virtualKeys.deletedAt),
            holdsText(search, [virtualKeys.id, virtualKeys.name, virtualKeys.owner, virtualKeys.team]),
          ),
        )
        .orderBy(desc(virtualKeys.createdAt), desc(virtualKeys.id))
        .limit(limit);
      return rows.map(fromRow);
    },

    async get(id) {
      const [row] = await database.select().from(virtualKeys).where(eq(virtualKeys.id, id));
      return row && fromRow(row);
    },

    async configure(id, settingsOf, actor) {
      let isOver = false;
      const key = await changeOne(id, 'put', actor, (row) => {
        isOver = row.revokedAt !== null;
        return isOver ? undefined : settingsToRow(settingsOf(fromRow(row)));
      });
      return isOver ? undefined : key;
    },

    async rotate(id, { hash, prefix, hint, at, graceUntil }, actor) {
      const key = await changeOne(id, 'rotate', actor, (row) => {
        if (!isInForce(row, at)) return undefined;
        const inGrace = graceUntil > at;
        return {
          hash,
          prefix,
          hint,
          rotatedAt: new Date(at),
          previousHash: inGrace ? row.hash : null,
          previousExpiresAt: inGrace ? new Date(graceUntil) : null,
        };
      });
      return key?.hash === hash ? key : undefined;
    },

    revoke: (id, at, actor, reason) =>
      changeOne(id, 'revoke', actor, (row) =>
        row.revokedAt && row.revokedReason !== DELETED
          ? undefined
          : { revokedAt: new Date(at), revokedReason: reason ?? null },
      ),

    remove: (id, at, actor) =>
      changeOne(id, 'delete', actor, (row) => {
        if (row.deletedAt) return undefined;
        const deletedAt = new Date(at);
        return row.revokedAt ? { deletedAt } : { deletedAt, revokedAt: deletedAt, revokedReason: DELETED };
      }),

    async restore(id, actor) {
      let restored = false;
      const key = await changeOne(id, 'restore', actor, (row) => {
        if (!row.deletedAt) return undefined;
        restored = true;
        const unrevoked = row.revokedReason === DELETED ? { revokedAt: null, revokedReason: null } : {};
        return { deletedAt: null, ...unrevoked };
      });
      return restored ? key : undefined;
    },

    async listActive(now, ids) {
      const rows = await database
        .select(ACTIVE_COLUMNS)
        .from(virtualKeys)
        .where(and(inForce(now), ids && inArray(virtualKeys.id, [...ids])));
      return rows.flatMap((row) => activeKeys(row, now));
    },

    async touch(usedAt) {
      const entries = Object.entries(usedAt);
      if (entries.length === 0) return;
      const ids = entries.map(([id]) => id);
      const times = entries.map(([, at]) => new Date(Math.floor(at / MINUTE_MS) * MINUTE_MS).toISOString());
      await database.execute(sql`
        update ${virtualKeys} set last_used_at = seen.at
        from unnest(${sql.param(ids)}::text[], ${sql.param(times)}::timestamptz[]) as seen (id, at)
        where ${virtualKeys.id} = seen.id
          and (${virtualKeys.lastUsedAt} is null or ${virtualKeys.lastUsedAt} < seen.at)`);
    },

    async listExpiring(now, withinMs) {
      const rows = await database
        .select()
        .from(virtualKeys)
        .where(and(inForce(now), lte(virtualKeys.expiresAt, new Date(now + withinMs))))
        .orderBy(virtualKeys.expiresAt);
      return rows.map(fromRow);
    },

    async listInactive(now, limit) {
      const active = sql`greatest(${virtualKeys.lastUsedAt}, ${virtualKeys.rotatedAt}, ${virtualKeys.createdAt})`;
      const rows = await database
        .select()
        .from(virtualKeys)
        .where(
          and(
            inForce(now),
            isNotNull(virtualKeys.inactivityDays),
            sql`${active} < ${new Date(now).toISOString()}::timestamptz - make_interval(days => ${virtualKeys.inactivityDays})`,
          ),
        )
        .limit(limit);
      return rows.map(fromRow);
    },

    purgeDeleted: (deletedBefore, actor) =>
      changeMany(database, 'purge', actor, (transaction) =>
        transaction
          .delete(virtualKeys)
          .where(atOnce(transaction, lte(virtualKeys.deletedAt, new Date(deletedBefore))))
          .returning({ id: virtualKeys.id }),
      ),

    endGraces: (now, actor) =>
      changeMany(database, 'end grace', actor, (transaction) =>
        transaction
          .update(virtualKeys)
          .set({ previousHash: null, previousExpiresAt: null })
          .where(atOnce(transaction, lte(virtualKeys.previousExpiresAt, new Date(now))))
          .returning({ id: virtualKeys.id }),
      ),
  };
}

/** As one change; none where nothing was to be done. */
async function changeMany(
  database: Database,
  action: RecordedChange['action'],
  actor: string,
  change: (transaction: Transaction) => Promise<{ id: string }[]>,
): Promise<number> {
  return await database.transaction(async (transaction) => {
    const changed = await change(transaction);
    if (changed.length > 0) {
      const number = await nextRevision(transaction);
      await recordChanges(
        transaction,
        number,
        actor,
        changed.map(({ id }) => recorded(action, id)),
      );
    }
    return changed.length;
  });
}

/** As many of those that meet a condition as one transaction changes. */
function atOnce(transaction: Transaction, condition: SQL) {
  const some = transaction.select({ id: virtualKeys.id }).from(virtualKeys).where(condition);
  return inArray(virtualKeys.id, some.limit(MOST_AT_ONCE));
}

/** Not revoked (nor deleted, which sets that too), not expired. */
function inForce(now: number) {
  return and(
    isNull(virtualKeys.revokedAt),
    isNull(virtualKeys.deletedAt),
    or(isNull(virtualKeys.expiresAt), gt(virtualKeys.expiresAt, new Date(now))),
  );
}

function isInForce(row: Row, now: number): boolean {
  return !row.revokedAt && !row.deletedAt && (!row.expiresAt || row.expiresAt.getTime() > now);
}

const ACTIVE_COLUMNS = {
  id: virtualKeys.id,
  hash: virtualKeys.hash,
  owner: virtualKeys.owner,
  team: virtualKeys.team,
  tenant: virtualKeys.tenant,
  surfaces: virtualKeys.surfaces,
  models: virtualKeys.models,
  tools: virtualKeys.tools,
  scopes: virtualKeys.scopes,
  permissions: virtualKeys.permissions,
  expiresAt: virtualKeys.expiresAt,
  previousHash: virtualKeys.previousHash,
  previousExpiresAt: virtualKeys.previousExpiresAt,
};

/** The key, and what it was before while its grace lasts. */
function activeKeys(row: Pick<Row, keyof typeof ACTIVE_COLUMNS>, now: number): VirtualKey[] {
  const key = asVirtualKey(row);
  const { previousHash, previousExpiresAt } = row;
  const graceEnds = previousExpiresAt?.getTime() ?? 0;
  if (previousHash === null || graceEnds <= now) return [key];
  const expiresAt = Math.min(graceEnds, key.expiresAt ?? graceEnds);
  return [key, { ...key, hash: previousHash, expiresAt }];
}

function asVirtualKey(row: Pick<Row, keyof typeof ACTIVE_COLUMNS>): VirtualKey {
  return {
    id: row.id,
    hash: row.hash,
    user: row.owner,
    team: row.team ?? undefined,
    tenant: row.tenant ?? undefined,
    surfaces: row.surfaces === null ? undefined : SURFACES.filter((name) => row.surfaces?.includes(name)),
    models: row.models ?? undefined,
    tools: row.tools ?? undefined,
    scopes: row.scopes ?? undefined,
    permissions:
      row.permissions === null ? undefined : PERMISSIONS.filter((name) => row.permissions?.includes(name)),
    expiresAt: row.expiresAt?.getTime(),
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
    ...settingsToRow(key),
    owner: key.user,
    createdAt: new Date(key.createdAt),
    lastUsedAt: toDate(key.lastUsedAt),
    rotatedAt: toDate(key.rotatedAt),
    previousHash: key.previous?.hash ?? null,
    previousExpiresAt: toDate(key.previous?.expiresAt),
    revokedAt: toDate(key.revokedAt),
    revokedReason: key.revokedReason ?? null,
    deletedAt: toDate(key.deletedAt),
  };
}

function settingsToRow(settings: KeySettings) {
  const { surfaces, models, tools, scopes, permissions } = settings;
  return {
    name: settings.name ?? null,
    description: settings.description ?? null,
    labels: settings.labels ?? null,
    team: settings.team ?? null,
    tenant: settings.tenant ?? null,
    surfaces: surfaces ? [...surfaces] : null,
    models: models ? [...models] : null,
    tools: tools ? [...tools] : null,
    scopes: scopes ? [...scopes] : null,
    permissions: permissions ? [...permissions] : null,
    inactivityDays: settings.inactivityDays ?? null,
    expiresAt: toDate(settings.expiresAt),
  };
}

function toDate(time: number | undefined): Date | null {
  return time === undefined ? null : new Date(time);
}

function fromRow(row: Row): StoredKey {
  const wasRevoked = row.revokedReason !== DELETED;
  return {
    ...asVirtualKey(row),
    prefix: row.prefix,
    hint: row.hint,
    name: row.name ?? undefined,
    description: row.description ?? undefined,
    labels: row.labels ?? undefined,
    inactivityDays: row.inactivityDays ?? undefined,
    createdAt: row.createdAt.getTime(),
    lastUsedAt: row.lastUsedAt?.getTime(),
    rotatedAt: row.rotatedAt?.getTime(),
    previous:
      row.previousHash === null || row.previousExpiresAt === null
        ? undefined
        : { hash: row.previousHash, expiresAt: row.previousExpiresAt.getTime() },
    revokedAt: wasRevoked ? row.revokedAt?.getTime() : undefined,
    revokedReason: wasRevoked ? (row.revokedReason ?? undefined) : undefined,
    deletedAt: row.deletedAt?.getTime(),
  };
}
