import { sql } from 'drizzle-orm';
import { z } from 'zod';
import type { IssuerKeyStore, KeptIssuerKeys } from '../../../core/identity-store.ts';
import type { Database } from '../database.ts';
import { issuerKeys } from '../schema/index.ts';

/** Public keys alone: whoever broke a row could make a secret of it that they know. */
const keysSchema = z.array(
  z.object({
    kty: z.enum(['RSA', 'EC', 'OKP']),
    kid: z.string().optional(),
    alg: z.string().optional(),
    use: z.string().optional(),
    crv: z.string().optional(),
    n: z.string().optional(),
    e: z.string().optional(),
    x: z.string().optional(),
    y: z.string().optional(),
  }),
);

export function createIssuerKeyStore(database: Database): IssuerKeyStore {
  return {
    async read() {
      const rows = await database.select().from(issuerKeys);
      return new Map(
        rows.flatMap(({ provider, declared, keys, fetchedAt }): [string, KeptIssuerKeys][] => {
          const { data } = keysSchema.safeParse(keys);
          return data === undefined
            ? []
            : [[provider, { declared, keys: data, fetchedAt: fetchedAt.getTime() }]];
        }),
      );
    },

    async write(provider, { declared, keys, fetchedAt }) {
      const row = { declared, keys, fetchedAt: new Date(fetchedAt) };
      await database
        .insert(issuerKeys)
        .values({ provider, ...row })
        .onConflictDoUpdate({
          target: issuerKeys.provider,
          set: row,
          // Of another control plane, which has asked the issuer since.
          setWhere: sql`${issuerKeys.fetchedAt} <= excluded.fetched_at`,
        });
    },
  };
}
