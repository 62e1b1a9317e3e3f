import type { Database } from '../database.ts';
import { revision } from '../schema/index.ts';

/** How many changes were made so far. */
export async function readRevision(database: Database): Promise<number> {
  const [row] = await database.select({ value: revision.value }).from(revision);
  return row?.value ?? 0;
}
