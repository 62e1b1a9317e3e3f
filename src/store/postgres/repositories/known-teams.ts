import { sql } from 'drizzle-orm';
import { z } from 'zod';
import type { KnownTeamStore } from '../../../core/configuration-store.ts';
import type { Database } from '../database.ts';
import { knownTeams } from '../schema/index.ts';

const listedSchema = z.object({ members: z.array(z.string()), groups: z.array(z.string()) });
const NOBODY = { members: [], groups: [] };

export function createKnownTeamStore(database: Database): KnownTeamStore {
  return {
    async list() {
      const rows = await database.select().from(knownTeams).orderBy(knownTeams.name);
      // One whose list cannot be read is known by its name all the same.
      return rows.map(({ name, listed }) => ({ name, ...(listedSchema.safeParse(listed).data ?? NOBODY) }));
    },

    async remember(teams) {
      if (teams.length === 0) return;
      const updatedAt = new Date();
      await database
        .insert(knownTeams)
        .values(teams.map(({ name, members, groups }) => ({ name, listed: { members, groups }, updatedAt })))
        .onConflictDoUpdate({
          target: knownTeams.name,
          set: { listed: sql`excluded.listed`, updatedAt: sql`excluded.updated_at` },
        });
    },
  };
}
