import { and, asc, eq, isNull, sql } from 'drizzle-orm';
import type { ResourceChange, ResourceStore, StoredResource } from '../../../core/configuration-store.ts';
import type { Database, Transaction } from '../database.ts';
import { nextRevision, recordChanges } from '../record-changes.ts';
import { knownTeams, resources } from '../schema/index.ts';
import { readRevision } from './revision.ts';

/** Ends a transaction whose changes were made on the ground of something that is no longer so. */
class OutdatedError extends Error {}

export function createResourceStore(database: Database): ResourceStore {
  return {
    async list() {
      const rows = await database
        .select()
        .from(resources)
        .where(isNull(resources.deletedAt))
        .orderBy(asc(resources.kind), asc(resources.name));
      return rows.map(fromRow);
    },

    async change(changes, actor, expectedRevision) {
      try {
        return await database.transaction(async (transaction) => {
          const number = await nextRevision(transaction);
          if (number !== expectedRevision + 1) throw new OutdatedError();
          for (const change of changes) await makeChange(transaction, change);
          const recorded = changes.map(({ action, kind, name }) => ({
            action,
            entity: 'resource' as const,
            id: `${kind}/${name}`,
          }));
          await recordChanges(transaction, number, actor, recorded);
          return number;
        });
      } catch (error) {
        if (error instanceof OutdatedError) return undefined;
        throw error;
      }
    },

    revision: () => readRevision(database),
  };
}

async function makeChange(transaction: Transaction, change: ResourceChange): Promise<void> {
  const now = new Date();
  const { kind, name } = change;
  if (change.action === 'delete') {
    // Who asks for it has decided what becomes of those who were in it.
    if (kind === 'Team') await transaction.delete(knownTeams).where(eq(knownTeams.name, name));
    await transaction
      .update(resources)
      .set({ deletedAt: now, updatedAt: now, generation: sql`${resources.generation} + 1` })
      .where(and(eq(resources.kind, kind), eq(resources.name, name), isNull(resources.deletedAt)));
    return;
  }
  const values = { labels: change.labels ?? null, spec: change.spec, updatedAt: now, deletedAt: null };
  await transaction
    .insert(resources)
    .values({ kind, name, ...values, generation: 1, createdAt: now })
    .onConflictDoUpdate({
      target: [resources.kind, resources.name],
      set: { ...values, generation: sql`${resources.generation} + 1` },
    });
}

function fromRow(row: typeof resources.$inferSelect): StoredResource {
  return {
    kind: row.kind,
    name: row.name,
    labels: row.labels ?? undefined,
    spec: row.spec,
    generation: row.generation,
    createdAt: row.createdAt.getTime(),
    updatedAt: row.updatedAt.getTime(),
  };
}
