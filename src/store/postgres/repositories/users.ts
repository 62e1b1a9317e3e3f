import { and, arrayContains, eq, getTableColumns, gt, gte, inArray, lt, or, sql } from 'drizzle-orm';
import { mergedSighting, saidAt, type SeenUser } from '../../../core/access.ts';
import { recordOf, type StoredUser, type UserEdit, type UserStore } from '../../../core/identity-store.ts';
import type { Database } from '../database.ts';
import { nextRevision, recordChanges } from '../record-changes.ts';
import { changes, users } from '../schema/index.ts';
import { holdsText } from '../search.ts';

type Row = typeof users.$inferSelect;

/** Beyond every revision. */
const LAST = Number.MAX_SAFE_INTEGER;

export function createUserStore(database: Database): UserStore {
  return {
    async list({ limit, after, search, provider, team, group, disabled }) {
      const rows = await database
        .select()
        .from(users)
        .where(
          and(
            after === undefined ? undefined : gt(users.id, after),
            provider === undefined ? undefined : eq(users.provider, provider),
            team === undefined ? undefined : eq(users.team, team),
            group === undefined
              ? undefined
              : or(arrayContains(users.groups, [group]), arrayContains(users.claimedGroups, [group])),
            disabled === undefined ? undefined : eq(users.disabled, disabled),
            holdsText(search, [users.id, users.email, users.claimedEmail, users.name, users.claimedName]),
          ),
        )
        .orderBy(users.id)
        .limit(limit);
      return rows.map(fromRow);
    },

    async get(id) {
      const [row] = await database.select().from(users).where(eq(users.id, id));
      return row && fromRow(row);
    },

    edit: (id, edit, at, actor) =>
      database.transaction(async (transaction) => {
        const number = await nextRevision(transaction);
        const set = toColumns(edit);
        const [row] = await transaction
          .insert(users)
          .values({ id, ...set, createdAt: new Date(at) })
          // An update of nothing would return no row.
          .onConflictDoUpdate({ target: users.id, set: { id, ...set } })
          .returning();
        if (!row) throw new TypeError('An upsert returned no row.');
        await recordChanges(transaction, number, actor, [{ action: 'put', entity: 'user', id }]);
        return fromRow(row);
      }),

    async see(seen) {
      const latest = new Map<string, SeenUser>();
      for (const user of seen) {
        const other = latest.get(user.id);
        latest.set(user.id, other === undefined ? user : mergedSighting(other, user));
      }
      if (latest.size === 0) return [];
      const known = await database
        .select()
        .from(users)
        .where(inArray(users.id, [...latest.keys()]));
      const before = new Map(known.map((row) => [row.id, row]));
      const differing = [...latest.values()].filter((user) => saysSomethingNew(before.get(user.id), user));
      await touch(
        database,
        [...latest.values()].filter((user) => !differing.includes(user)),
      );
      if (differing.length === 0) return [];
      return await takeClaims(database, differing);
    },

    async purgeSignIns(before) {
      // The record is in the order of time: its beginning alone is looked at.
      const first = database
        .select({ revision: changes.revision })
        .from(changes)
        .where(gte(changes.time, new Date(before)))
        .orderBy(changes.revision)
        .limit(1);
      const result = await database
        .delete(changes)
        .where(and(lt(changes.revision, sql`coalesce((${first}), ${LAST})`), eq(changes.action, 'sign in')));
      return result.rowCount ?? 0;
    },

    async records(ids) {
      const rows = await database
        .select()
        .from(users)
        .where(ids && inArray(users.id, [...ids]));
      return rows.map((row) => recordOf(fromRow(row)));
    },
  };
}

/** Not a change: workers are not told. */
async function touch(database: Database, seen: readonly SeenUser[]): Promise<void> {
  if (seen.length === 0) return;
  const ids = seen.map(({ id }) => id);
  const times = seen.map(({ seenAt }) => new Date(seenAt).toISOString());
  const said = seen.map((user) => new Date(saidAt(user)).toISOString());
  await database.execute(sql`
    update ${users} set last_seen_at = greatest(${users.lastSeenAt}, seen.at),
      claimed_at = greatest(${users.claimedAt}, seen.said)
    from unnest(${sql.param(ids)}::text[], ${sql.param(times)}::timestamptz[], ${sql.param(said)}::timestamptz[])
      as seen (id, at, said)
    where ${users.id} = seen.id`);
}

/** @returns the users that were made */
function takeClaims(database: Database, seen: readonly SeenUser[]): Promise<readonly StoredUser[]> {
  return database.transaction(async (transaction) => {
    const number = await nextRevision(transaction);
    const rows = await transaction
      .insert(users)
      .values(
        seen.map((user) => ({
          id: user.id,
          provider: user.provider,
          claimedEmail: user.email ?? null,
          claimedName: user.name ?? null,
          claimedGroups: [...user.groups],
          claimedTenant: user.tenant ?? null,
          claimedAt: new Date(saidAt(user)),
          createdAt: new Date(user.seenAt),
          lastSeenAt: new Date(user.seenAt),
        })),
      )
      .onConflictDoUpdate({
        target: users.id,
        set: {
          provider: sql`excluded.provider`,
          claimedEmail: sql`excluded.claimed_email`,
          claimedName: sql`excluded.claimed_name`,
          claimedGroups: sql`excluded.claimed_groups`,
          claimedTenant: sql`excluded.claimed_tenant`,
          claimedAt: sql`excluded.claimed_at`,
          lastSeenAt: sql`greatest(${users.lastSeenAt}, excluded.last_seen_at)`,
        },
        setWhere: sql`${users.claimedAt} is null or ${users.claimedAt} < excluded.claimed_at`,
      })
      // Of a row that this statement inserted, nobody has deleted an older version.
      .returning({ ...getTableColumns(users), isNew: sql<boolean>`xmax = 0` });
    if (rows.length > 0) {
      await recordChanges(
        transaction,
        number,
        'sign-in',
        rows.map(({ id }) => ({ action: 'sign in', entity: 'user', id })),
      );
    }
    return rows.filter(({ isNew }) => isNew).map(fromRow);
  });
}

function saysSomethingNew(row: Row | undefined, user: SeenUser): boolean {
  if (row === undefined) return true;
  // Another token may be older, and who has two would else be changed with every use of the other one.
  const isOver = row.claimedAt !== null && row.claimedAt.getTime() >= saidAt(user);
  return !isOver && claimsDiffer(row, user);
}

function claimsDiffer(row: Row, user: SeenUser): boolean {
  return (
    row.provider !== user.provider ||
    row.claimedEmail !== (user.email ?? null) ||
    row.claimedName !== (user.name ?? null) ||
    row.claimedTenant !== (user.tenant ?? null) ||
    row.claimedGroups.length !== user.groups.length ||
    row.claimedGroups.some((group, index) => group !== user.groups[index])
  );
}

function toColumns({ groups, roles, ...edit }: UserEdit) {
  return {
    ...edit,
    ...(groups && { groups: [...groups] }),
    ...(roles && { roles: [...roles] }),
  };
}

function fromRow(row: Row): StoredUser {
  return {
    id: row.id,
    provider: row.provider ?? undefined,
    claimed: {
      email: row.claimedEmail ?? undefined,
      name: row.claimedName ?? undefined,
      groups: row.claimedGroups,
      tenant: row.claimedTenant ?? undefined,
    },
    email: row.email ?? undefined,
    name: row.name ?? undefined,
    groups: row.groups,
    roles: row.roles,
    team: row.team ?? undefined,
    tenant: row.tenant ?? undefined,
    disabled: row.disabled,
    createdAt: row.createdAt.getTime(),
    lastSeenAt: row.lastSeenAt?.getTime(),
  };
}
