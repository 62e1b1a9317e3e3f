import { and, eq } from 'drizzle-orm';
import type { SigningKeyStore } from '../../../core/identity-store.ts';
import type { Database } from '../database.ts';
import { signingKeys } from '../schema/index.ts';

/** @param name what the keys are for */
export function createSigningKeyStore(database: Database, name: string): SigningKeyStore {
  return {
    async read() {
      const [row] = await database.select().from(signingKeys).where(eq(signingKeys.name, name));
      return row?.sealed;
    },

    async replace(before, sealed) {
      const updatedAt = new Date();
      const written =
        before === undefined
          ? await database
              .insert(signingKeys)
              .values({ name, sealed, updatedAt })
              .onConflictDoNothing()
              .returning({ name: signingKeys.name })
          : await database
              .update(signingKeys)
              .set({ sealed, updatedAt })
              .where(and(eq(signingKeys.name, name), eq(signingKeys.sealed, before)))
              .returning({ name: signingKeys.name });
      return written.length > 0;
    },
  };
}
