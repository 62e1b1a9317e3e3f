import type {
  KnownTeamStore,
  ResourceChange,
  ResourceStore,
  StoredResource,
} from '../core/configuration-store.ts';
import type { ConfigIssue } from '../config/load/issue.ts';
import { validateResource } from '../config/load/validate.ts';
import { mergeSources, type ConfigSources } from '../config/merge/merge.ts';
import { endOfUnknown } from '../core/nearest.ts';
import { describeOrigin, resourceId, type Origin, type SourcedResource } from '../config/origin.ts';
import type { Resource } from '../config/resources/index.ts';
import { hideSecrets, sealSpec } from '../vault/sealed-spec.ts';
import type { Vault } from '../vault/vault.ts';
import { AdminError } from './errors.ts';
import type { ApplyIssue, ApplyResult, ResourceDiff, ResourceView } from './contract.ts';
import { diffFields } from './diff.ts';
import { tell, type AdminListener } from './admin-event.ts';
import { withHashedKey, withKeptSecret } from './submitted-secrets.ts';
import { openStoredResources } from './stored-resources.ts';
import { requireUnusedTeam, type TeamUseSources } from './team-use.ts';

/** What the sources besides the database declare at present. */
export type OtherSources = Omit<ConfigSources, 'database'>;

export interface ResourceServiceOptions extends AdminListener {
  readonly store: ResourceStore;
  readonly vault: Vault;
  readonly otherSources: () => OtherSources;
  readonly knownTeams: Pick<KnownTeamStore, 'list'>;
  /** Who may name a team that is to be deleted. */
  readonly teamUse: TeamUseSources;
}

/** Resources of all sources to look at, and those of the database to change. */
export interface ResourceService {
  list(kind?: string, name?: string): Promise<ResourceView[]>;
  /**
   * Creates and changes resources, all or none.
   *
   * @param inputs parsed YAML or JSON, anything; or what makes them of what is in force, again where another change came
   *   between
   * @throws AdminError invalid_configuration with every ApplyIssue, read_only, conflict
   */
  apply(inputs: Inputs, change: ChangeRequest): Promise<ApplyResult>;
  /**
   * @throws AdminError not_found, read_only, invalid_configuration where others refer to it, or conflict for a Team that
   *   bounds somebody
   */
  remove(kind: string, name: string, change: RemovalRequest): Promise<ApplyResult>;
}

type Inputs = readonly unknown[] | ((inForce: readonly Resource[]) => readonly unknown[]);

/** How, and by whom. */
export interface ChangeRequest {
  readonly dryRun: boolean;
  readonly actor: string;
  /** Throws where who asks may not put these into force, or not take these out of it: what is changed is in both. */
  readonly review: (resources: readonly Resource[], before: readonly Resource[]) => void;
}

export interface RemovalRequest extends ChangeRequest {
  /** Gives up what a Team bounds. */
  readonly force: boolean;
}

/** How often a change is tried again that another one overtook. */
const MOST_TRIES = 5;

export function createResourceService(options: ResourceServiceOptions): ResourceService {
  const { store, vault } = options;

  const present = async (): Promise<Present> => {
    const revision = await store.revision();
    const stored = await store.list();
    return {
      revision,
      stored,
      opened: openStoredResources(stored, vault).resources,
      others: options.otherSources(),
    };
  };

  /** Makes a plan on what is there and carries it out, again if something else was changed meanwhile. */
  const carryOut = async (
    plan: (now: Present) => readonly Planned[] | Promise<readonly Planned[]>,
    dryRun: boolean,
    actor: string,
  ): Promise<ApplyResult> => {
    for (let attempt = 0; attempt < MOST_TRIES; attempt += 1) {
      const now = await present();
      const planned = await plan(now);
      const changes = planned.flatMap(({ change, diff }) => (diff.action === 'unchanged' ? [] : [change]));
      const result = { dryRun, changes: planned.map(({ diff }) => diff) };
      if (dryRun || changes.length === 0) return { ...result, revision: now.revision };
      const revision = await store.change(changes, actor, now.revision);
      if (revision !== undefined) {
        await tell(options, { type: 'resources-changed', revision });
        return { ...result, revision };
      }
    }
    throw new AdminError('conflict', 'Others are changing the configuration at this moment; try again.');
  };

  const isKnownTeam = async (name: string): Promise<boolean> =>
    (await options.knownTeams.list()).some((team) => team.name === name);

  return {
    async list(kind, name) {
      const { others, opened } = await present();
      const { resources } = mergeSources({ ...others, database: opened });
      return resources
        .filter(
          ({ resource }) =>
            (kind === undefined || resource.kind === kind) &&
            (name === undefined || resource.metadata.name === name),
        )
        .map(resourceView)
        .sort(
          (left, right) =>
            left.kind.localeCompare(right.kind) || left.metadata.name.localeCompare(right.metadata.name),
        );
    },

    apply: (inputs, { dryRun, actor, review }) =>
      carryOut(
        (now) => {
          const present = inForce(now);
          const resources = checkInputs(typeof inputs === 'function' ? inputs(present) : inputs, now);
          const replaced = new Set(resources.map(resourceId));
          review(
            resources,
            present.filter((resource) => replaced.has(resourceId(resource))),
          );
          const database = [
            ...now.opened.filter(({ resource }) => !replaced.has(resourceId(resource))),
            ...resources.map((resource): SourcedResource => ({
              resource,
              origin: { source: 'database', generation: 0 },
            })),
          ];
          refuseNewIssues(now, database, resources.map(resourceId));
          return resources.map((resource) => planPut(resource, now, vault));
        },
        dryRun,
        actor,
      ),

    remove: (kind, name, { dryRun, actor, review, force }) =>
      carryOut(
        async (now) => {
          const id = `${kind}/${name}`;
          const stored = now.stored.find((record) => record.kind === kind && record.name === name);
          const other = declaredElsewhere(id, now.others);
          if (!stored) {
            if (other) throw new AdminError('read_only', readOnlyMessage(id, other.origin));
            if (kind === 'Team' && (await isKnownTeam(name))) return [formerTeamGivenUp(name, force)];
            const names = now.stored.filter((record) => record.kind === kind).map((record) => record.name);
            throw new AdminError('not_found', `There is no ${id}${endOfUnknown(name, names)}`);
          }
          const before = now.opened.filter(({ resource }) => resourceId(resource) === id);
          review(
            [],
            before.map(({ resource }) => resource),
          );
          refuseNewIssues(
            now,
            now.opened.filter(({ resource }) => resourceId(resource) !== id),
            [],
          );
          const diff: ResourceDiff = {
            kind,
            name,
            action: 'deleted',
            fields: diffFields(hideSecrets(stored.spec), undefined, ['spec']),
          };
          if (kind === 'Team' && other === undefined && !force) {
            await requireUnusedTeam(name, inForce(now), options.teamUse);
          }
          return [{ change: { action: 'delete', kind, name }, diff }];
        },
        dryRun,
        actor,
      ),
  };
}

interface Present {
  readonly revision: number;
  readonly stored: readonly StoredResource[];
  /** What of `stored` can be used, with secrets in clear. */
  readonly opened: readonly SourcedResource[];
  readonly others: OtherSources;
}

interface Planned {
  readonly change: ResourceChange;
  readonly diff: ResourceDiff;
}

function inForce({ others, opened }: Present): readonly Resource[] {
  return mergeSources({ ...others, database: opened }).resources.map(({ resource }) => resource);
}

/** Of a Team that is declared nowhere any more: what still bounds who is in it. */
function formerTeamGivenUp(name: string, force: boolean): Planned {
  if (!force) {
    throw new AdminError(
      'conflict',
      `Team/${name} is no longer declared, and still bounds who was in it. Declare it again, or give its bounds up: force=true, limen teams delete ${name} --force.`,
    );
  }
  return {
    change: { action: 'delete', kind: 'Team', name },
    diff: { kind: 'Team', name, action: 'deleted', fields: [] },
  };
}

function resourceView({ resource, origin }: SourcedResource): ResourceView {
  const { apiVersion, kind, metadata } = resource;
  return {
    apiVersion,
    kind,
    metadata,
    spec: hideSecrets(resource.spec),
    origin,
    editable: origin.source === 'database',
  };
}

/** Only the file makes a resource untouchable: what the environment implies may be declared better here. */
function declaredElsewhere(id: string, others: OtherSources): SourcedResource | undefined {
  const all = [...others.file, ...others.environment, ...others.builtIn];
  return all.find(({ resource }) => resourceId(resource) === id);
}

function readOnlyMessage(id: string, origin: Origin): string {
  return origin.source === 'file'
    ? `${id} is declared at ${describeOrigin(origin)}: change it there.`
    : `${id} comes from ${describeOrigin(origin)} and cannot be deleted here.`;
}

function checkInputs(inputs: readonly unknown[], now: Present): Resource[] {
  const issues: ApplyIssue[] = [];
  const resources: Resource[] = [];
  const seen = new Map<string, number>();
  for (const [index, input] of inputs.entries()) {
    const validation = validateResource(input);
    if (!validation.resource) {
      issues.push(...validation.issues.map(({ issue }) => ({ ...issue, index })));
      continue;
    }
    const id = resourceId(validation.resource);
    if (seen.has(id))
      issues.push({ index, resource: id, path: 'metadata.name', message: `${id} is given twice` });
    seen.set(id, index);
    const submitted = withKeptSecret(withHashedKey(validation.resource), now.opened);
    if ('resource' in submitted) resources.push(submitted.resource);
    else {
      const allowed = 'the secret itself, or where it comes from';
      issues.push({ index, resource: id, ...submitted.problem, allowed });
    }
  }
  if (issues.length > 0)
    throw new AdminError('invalid_configuration', 'The resources are not right.', issues);
  const declared = resources
    .map((resource) =>
      now.others.file.find((sourced) => resourceId(sourced.resource) === resourceId(resource)),
    )
    .filter((sourced) => sourced !== undefined);
  if (declared.length > 0) {
    const messages = declared.map(({ resource, origin }) => readOnlyMessage(resourceId(resource), origin));
    throw new AdminError('read_only', messages.join(' '));
  }
  return resources;
}

/** Refuses a change that would make wrong what is right now; what was wrong before does not stand in its way. */
function refuseNewIssues(now: Present, database: readonly SourcedResource[], ids: readonly string[]): void {
  const all = (sources: ConfigSources): ConfigIssue[] => {
    const { issues, warnings } = mergeSources(sources);
    return [...issues, ...warnings];
  };
  const key = ({ resource, path, message, value }: ConfigIssue) =>
    JSON.stringify([resource, path, message, value]);
  const known = new Set(all({ ...now.others, database: now.opened }).map(key));
  const fresh = all({ ...now.others, database }).filter((issue) => !known.has(key(issue)));
  if (fresh.length === 0) return;
  const issues = fresh.map((issue): ApplyIssue => {
    const index = ids.indexOf(issue.resource ?? '');
    return index < 0 ? issue : { ...issue, index };
  });
  throw new AdminError('invalid_configuration', 'The configuration would not be right.', issues);
}

function planPut(resource: Resource, now: Present, vault: Vault): Planned {
  const { kind, metadata, spec } = resource;
  const { name, labels } = metadata;
  const before = now.opened.find(
    (sourced) => resourceId(sourced.resource) === resourceId(resource),
  )?.resource;
  // One that is stored but cannot be opened is there all the same.
  const exists = now.stored.some((record) => record.kind === kind && record.name === name);
  const fields = diffFields({ labels: before?.metadata.labels, spec: before?.spec }, { labels, spec });
  const changed = fields.length > 0 ? 'changed' : 'unchanged';
  const change: ResourceChange = {
    action: 'put',
    kind,
    name,
    labels,
    spec: sealSpec(vault, { kind, name }, spec),
  };
  return { change, diff: { kind, name, action: exists ? changed : 'created', fields } };
}
