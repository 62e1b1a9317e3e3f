import { sql } from 'drizzle-orm';
import type { StoreChange } from '../../core/configuration-store.ts';
import type { Transaction } from './database.ts';
import { changes, revision } from './schema/index.ts';

/** Channel of NOTIFY on which every control plane hears of changes. */
export const CHANGES_CHANNEL = 'limen_changes';

/** NOTIFY takes up to 8,000 bytes; a change of very many things at once is told as one of all of their kind. */
const MOST_NOTIFIED = 50;

export interface RecordedChange {
  readonly action: (typeof changes.$inferInsert)['action'];
  readonly entity: (typeof changes.$inferInsert)['entity'];
  readonly id: string;
}

/**
 * Counts a transaction as one change, writes down who made it, and tells all control planes at its commit.
 * It locks the counter, so it must come first in a transaction that reads what it changes.
 *
 * @returns the new revision
 */
export async function nextRevision(transaction: Transaction): Promise<number> {
  const [row] = await transaction
    .insert(revision)
    .values({ id: 1, value: 1 })
    .onConflictDoUpdate({ target: revision.id, set: { value: sql`${revision.value} + 1` } })
    .returning({ value: revision.value });
  if (!row) throw new TypeError('An upsert returned no row.');
  return row.value;
}

/** Writes the record of a revision and notifies; the last step of its transaction. */
export async function recordChanges(
  transaction: Transaction,
  number: number,
  actor: string,
  recorded: readonly RecordedChange[],
): Promise<void> {
  const time = new Date();
  await transaction.insert(changes).values(
    recorded.map(({ action, entity, id }, position) => ({
      revision: number,
      position,
      time,
      actor,
      action,
      entity,
      entityId: id,
    })),
  );
  const told: StoreChange[] =
    recorded.length > MOST_NOTIFIED
      ? [{ revision: number, entity: commonEntity(recorded) }]
      : recorded.map(({ entity, id }) => ({ revision: number, entity, id }));
  for (const change of told) {
    await transaction.execute(sql`select pg_notify(${CHANGES_CHANNEL}, ${JSON.stringify(change)})`);
  }
}

function commonEntity([first, ...others]: readonly RecordedChange[]): StoreChange['entity'] {
  if (first === undefined) return 'unknown';
  return others.every(({ entity }) => entity === first.entity) ? first.entity : 'unknown';
}
