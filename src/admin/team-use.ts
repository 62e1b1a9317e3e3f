import type { Resource } from '../config/resources/index.ts';
import type { VirtualKeyStore } from '../core/configuration-store.ts';
import type { UserStore } from '../core/identity-store.ts';
import { listHas } from '../core/roles.ts';
import { AdminError } from './errors.ts';

/** Where those are looked for who name a team. */
export interface TeamUseSources {
  readonly keys: Pick<VirtualKeyStore, 'list'>;
  readonly users: Pick<UserStore, 'list'>;
}

const PAGE = 1000;
/** Names of each kind that a refusal repeats. */
const MOST_NAMED = 5;

/**
 * A team is taken away only when that gives nobody more than they have: its list of models and its limits hold those who name it, or
 * whom it lists.
 *
 * @param resources everything in force, the team among them if it is
 * @throws AdminError conflict that says how many they are, and the first of them
 */
export async function requireUnusedTeam(
  name: string,
  resources: readonly Resource[],
  { keys, users }: TeamUseSources,
): Promise<void> {
  const stored = await everyPage((after) => keys.list({ limit: PAGE, after, team: name, deleted: true }));
  const declared = resources.flatMap((resource) =>
    resource.kind === 'ApiKey' && resource.spec.team === name ? [`config/${resource.metadata.name}`] : [],
  );
  // Those that expired, were deleted or disabled can be brought back; those that were revoked cannot.
  const ofDatabase = stored.filter(({ revokedAt }) => revokedAt === undefined).map(({ id }) => id);
  const found = {
    keys: [...ofDatabase, ...declared],
    users: (await everyPage((after) => users.list({ limit: PAGE, after, team: name }))).map(({ id }) => id),
    members: listOf(name, resources, 'members'),
    groups: listOf(name, resources, 'groups'),
    issuers: issuersNaming(name, resources),
  };
  const words = [
    ...inWords('key', found.keys),
    ...inWords('user', found.users),
    ...inWords('listed member', found.members),
    ...inWords('listed group', found.groups),
    ...inWords('issuer whose tokens may name it', found.issuers),
  ];
  if (words.length === 0) return;
  throw new AdminError(
    'conflict',
    `The Team ${name} bounds who is in it, and would no longer (${words.join('; ')}). Move these first, or give its bounds up: force=true, limen teams delete ${name} --force.`,
    Object.fromEntries(
      Object.entries(found).map(([what, names]) => [
        what,
        { count: names.length, first: names.slice(0, MOST_NAMED) },
      ]),
    ),
  );
}

/** What tokens say is in no list: it is told by what they may say. */
function issuersNaming(team: string, resources: readonly Resource[]): readonly string[] {
  return resources.flatMap(({ kind, metadata, spec }) =>
    kind === 'IdentityProvider' &&
    spec.enabled &&
    spec.claims.team !== undefined &&
    listHas(spec.allowedTeams, [team])
      ? [metadata.name]
      : [],
  );
}

function listOf(name: string, resources: readonly Resource[], list: 'members' | 'groups'): readonly string[] {
  return resources.flatMap(({ kind, metadata, spec }) =>
    kind === 'Team' && metadata.name === name ? spec[list] : [],
  );
}

function inWords(what: string, names: readonly string[]): readonly string[] {
  if (names.length === 0) return [];
  const more = names.length > MOST_NAMED ? ' …' : '';
  return [`${what}: ${names.length}, ${names.slice(0, MOST_NAMED).join(', ')}${more}`];
}

async function everyPage<Item extends { readonly id: string }>(
  read: (after: string | undefined) => Promise<readonly Item[]>,
): Promise<readonly Item[]> {
  const all: Item[] = [];
  for (;;) {
    const page = await read(all.at(-1)?.id);
    all.push(...page);
    if (page.length < PAGE) return all;
  }
}
