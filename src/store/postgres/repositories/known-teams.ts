import { sql } from 'drizzle-orm';
import { z } from 'zod';
import type { KnownTeamStore } from '../../../core/configuration-store.ts';
import type { Database } from '../database.ts';
import { knownTeams } from '../schema/index.ts';

const names = z.array(z.string());
const teamSchema = z.object({
  tenant: z.string().optional(),
  members: names,
  groups: names,
  models: names.optional(),
  defaultRoles: names.optional(),
});
/** Of one that cannot be read: nobody knows what it withheld. */
const WITHHOLDS_ALL: z.infer<typeof teamSchema> = { members: [], groups: [], models: [], defaultRoles: [] };

export function createKnownTeamStore(database: Database): KnownTeamStore {
  return {
    async list() {
      const rows = await database.select().from(knownTeams).orderBy(knownTeams.name);
      return rows.map(({ name, team }) => ({ name, ...(teamSchema.safeParse(team).data ?? WITHHOLDS_ALL) }));
    },

    async remember(teams) {
      if (teams.length === 0) return;
      const updatedAt = new Date();
      await database
        .insert(knownTeams)
        .values(teams.map(({ name, ...team }) => ({ name, team, updatedAt })))
        .onConflictDoUpdate({
          target: knownTeams.name,
          set: { team: sql`excluded.team`, updatedAt: sql`excluded.updated_at` },
        });
    },
  };
}
