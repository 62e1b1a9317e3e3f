import type { Surface } from '../../core/access.ts';
import type { LimitMatch, SnapshotLimit } from '../../core/limits.ts';
import { compilePattern, matchesPattern } from '../../core/pattern.ts';
import type { Principal } from '../../core/principal.ts';
import type { Snapshot } from '../../core/snapshot.ts';

/** What rules are looked up by. */
export interface LimitedRequest {
  readonly principal: Principal;
  readonly surface: Surface;
  /** Name of the Model. */
  readonly model?: string | undefined;
  /** Name of the Backend. */
  readonly backend?: string | undefined;
  /** Providers that may answer. */
  readonly providers: readonly LimitedProvider[];
  /** Of the client; absent: not known, then no rule on addresses applies. */
  readonly address?: string | undefined;
  /** As the client named it, bounded. */
  readonly workflow?: string | undefined;
}

export interface LimitedProvider {
  /** Of the SnapshotProvider: `PROVIDER@TENANT` for a tenant's own. */
  readonly name: string;
  /** Of the Provider resource: what rules name. */
  readonly resource: string;
}

type Dimension = keyof LimitMatch;

/**
 * The most selective first: a rule is found by the first of these that it names exactly, so that of 2,000 rules for
 * single users or teams a request looks at its own alone.
 */
const DIMENSIONS = [
  'users',
  'keys',
  'backends',
  'teams',
  'tenants',
  'groups',
  'models',
  'features',
  'roles',
  'providers',
  'surfaces',
] as const satisfies readonly Dimension[];

interface NameList {
  readonly dimension: Dimension;
  readonly names: ReadonlySet<string>;
  readonly patterns: readonly ((name: string) => boolean)[];
}

interface IndexedRule {
  readonly order: number;
  readonly rule: SnapshotLimit;
  readonly lists: readonly NameList[];
}

interface RuleIndex {
  readonly byName: ReadonlyMap<Dimension, ReadonlyMap<string, readonly IndexedRule[]>>;
  /** Rules that name nothing, or by pattern alone. */
  readonly others: readonly IndexedRule[];
  /** What was found before, by what else than the principal it depends on. */
  readonly found: WeakMap<Principal, Map<string, readonly SnapshotLimit[]>>;
}

/** Questions that are remembered of one principal, each of at most so many characters: models it uses, in the main. */
const MOST_REMEMBERED = 32;
const LONGEST_REMEMBERED = 512;

const indexes = new WeakMap<Snapshot, RuleIndex>();

/** The rules that are about a request, in the order of their names: looked for once for each principal and model. */
export function rulesFor(snapshot: Snapshot, request: LimitedRequest): readonly SnapshotLimit[] {
  if (snapshot.limits.length === 0) return [];
  const index = indexOf(snapshot);
  const { surface, model = '', backend = '', providers } = request;
  const question = JSON.stringify([surface, model, backend, providers.map(({ resource }) => resource)]);
  const known = index.found.get(request.principal);
  const remembered = known?.get(question);
  if (remembered !== undefined) return remembered;
  const rules = findRules(index, request);
  if (question.length > LONGEST_REMEMBERED) return rules;
  if (known === undefined) index.found.set(request.principal, new Map([[question, rules]]));
  else {
    if (known.size >= MOST_REMEMBERED) known.clear();
    known.set(question, rules);
  }
  return rules;
}

function findRules({ byName, others }: RuleIndex, request: LimitedRequest): readonly SnapshotLimit[] {
  const found = new Set<IndexedRule>();
  const consider = (indexed: IndexedRule): void => {
    if (indexed.lists.every((list) => hasOne(list, namesOf(list.dimension, request)))) found.add(indexed);
  };
  for (const [dimension, rules] of byName) {
    for (const name of namesOf(dimension, request)) rules.get(name)?.forEach(consider);
  }
  others.forEach(consider);
  return [...found].sort((left, right) => left.order - right.order).map(({ rule }) => rule);
}

/** Whether a rule is about a provider. */
export function isAboutProvider({ match }: SnapshotLimit, { resource }: LimitedProvider): boolean {
  return match.providers?.some((pattern) => matchesPattern(pattern, resource)) !== false;
}

function indexOf(snapshot: Snapshot): RuleIndex {
  const known = indexes.get(snapshot);
  if (known !== undefined) return known;
  const byName = new Map<Dimension, Map<string, IndexedRule[]>>();
  const others: IndexedRule[] = [];
  for (const [order, rule] of snapshot.limits.entries()) {
    const lists = DIMENSIONS.flatMap((dimension) => listOf(dimension, rule.match[dimension]));
    const indexed = { order, rule, lists };
    const exact = lists.find(({ patterns }) => patterns.length === 0);
    if (exact === undefined) {
      others.push(indexed);
      continue;
    }
    const rules = byName.get(exact.dimension) ?? new Map<string, IndexedRule[]>();
    byName.set(exact.dimension, rules);
    for (const name of exact.names) rules.set(name, [...(rules.get(name) ?? []), indexed]);
  }
  const index: RuleIndex = { byName, others, found: new WeakMap() };
  indexes.set(snapshot, index);
  return index;
}

function listOf(dimension: Dimension, names: readonly string[] | undefined): NameList[] {
  if (names === undefined) return [];
  const patterns = names.filter((name) => name.includes('*')).map(compilePattern);
  return [{ dimension, names: new Set(names.filter((name) => !name.includes('*'))), patterns }];
}

function hasOne({ names, patterns }: NameList, candidates: readonly string[]): boolean {
  return candidates.some((name) => names.has(name) || patterns.some((matches) => matches(name)));
}

function namesOf(dimension: Dimension, request: LimitedRequest): readonly string[] {
  const { principal } = request;
  switch (dimension) {
    case 'users':
      return [principal.user];
    case 'keys':
      return [principal.keyId];
    case 'teams':
      return listed(principal.team);
    case 'tenants':
      return listed(principal.tenant);
    case 'groups':
      return principal.groups;
    case 'roles':
      return principal.roles;
    case 'features':
      return principal.features;
    case 'models':
      return listed(request.model);
    case 'providers':
      return request.providers.map(({ resource }) => resource);
    case 'backends':
      return listed(request.backend);
    case 'surfaces':
      return [request.surface];
  }
}

function listed(name: string | undefined): readonly string[] {
  return name === undefined ? [] : [name];
}
