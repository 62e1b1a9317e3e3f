import { Option, type Command } from 'commander';
import { stringify } from 'yaml';
import { createAdminClient, type AdminClient } from './admin-client.ts';
import { CliError, runCommand, type CliContext } from './context.ts';
import {
  readResponse,
  resourceListSchema,
  resourceSchema,
  statusSchema,
  type ShownResource,
  type ShownStatus,
} from './responses.ts';
import { formatTable, formatTime, NOTHING } from './table.ts';

const FORMATS = ['table', 'yaml', 'json'] as const;
type Format = (typeof FORMATS)[number];

/** `limen get [kind] [name]` */
export function registerGetCommand(program: Command, context: CliContext): void {
  program
    .command('get [kind] [name]')
    .description('show what is in force: resources of all sources, or workers, or nodes (Envoys)')
    .addOption(new Option('-o, --output <format>', 'how to print it').choices([...FORMATS]).default('table'))
    .addHelpText(
      'after',
      `
Examples:
  limen get                      every resource, and where it comes from
  limen get models
  limen get providers            with their circuits
  limen get identityproviders    with their keys
  limen get provider openai -o yaml
  limen get workers              which snapshot each worker has
  limen get nodes                what each Envoy has acknowledged or refused`,
    )
    .action((kind: string | undefined, name: string | undefined, flags: { output: Format }) =>
      runCommand(context, () => get(context, kind, name, flags.output)),
    );
}

async function get(
  context: CliContext,
  kind: string | undefined,
  name: string | undefined,
  format: Format,
): Promise<void> {
  const client = createAdminClient(context.settings());
  const parts = STATUS_PARTS[kind?.toLowerCase() ?? ''];
  if (parts) {
    const status = readResponse(statusSchema, await client.call('GET', '/api/v1/status'));
    print(context, format, parts.items(status), () => parts.table(status));
    return;
  }
  const path = ['/api/v1/resources', kind, name].filter((part) => part !== undefined);
  const answer = await client.call(
    'GET',
    path.map((part, index) => (index === 0 ? part : encodeURIComponent(part))).join('/'),
  );
  if (name !== undefined) {
    const resource = readResponse(resourceSchema, answer);
    const [shown = resource] = await withStatus(client, [resource], format);
    print(context, format, format === 'yaml' ? plain(resource) : shown, () => resourceTable([shown]));
    return;
  }
  const resources = await withStatus(client, readResponse(resourceListSchema, answer).resources, format);
  if (format === 'yaml') {
    context.out(
      resources
        .map((resource) => stringify(plain(resource)))
        .join('---\n')
        .trimEnd(),
    );
    return;
  }
  if (resources.length === 0 && format === 'table')
    throw new CliError(`There are no ${kind ?? 'resources'}.`);
  print(context, format, resources, () => resourceTable(resources));
}

function print(context: CliContext, format: Format, value: unknown, table: () => string): void {
  if (format === 'json') context.out(JSON.stringify(value, null, 2));
  else if (format === 'yaml') context.out(stringify(value).trimEnd());
  else context.out(table());
}

type Circuit = ShownStatus['providers'][number]['circuit'];
type Issuer = Pick<
  ShownStatus['identityProviders'][number],
  'reachable' | 'problem' | 'keys' | 'fetchedAt' | 'enabled' | 'clientPromotion'
>;
interface ResourceStatus {
  readonly circuit?: Circuit;
  readonly issuer?: Issuer;
}
/** A resource; of a provider how its circuit stands, of an identity provider its keys; nothing where nobody knows. */
type ShownWithStatus = ShownResource & { readonly status?: ResourceStatus };

const KINDS_WITH_STATUS: ReadonlySet<string> = new Set(['Provider', 'IdentityProvider']);

/** YAML is what one may declare, so that it stays without. */
async function withStatus(
  client: AdminClient,
  resources: readonly ShownResource[],
  format: Format,
): Promise<readonly ShownWithStatus[]> {
  if (format === 'yaml' || !resources.some(({ kind }) => KINDS_WITH_STATUS.has(kind))) return resources;
  const status = readResponse(statusSchema, await client.call('GET', '/api/v1/status'));
  return resources.map((resource) => {
    const found = statusOf(resource, status);
    return found === undefined ? resource : { ...resource, status: found };
  });
}

function statusOf({ kind, metadata }: ShownResource, status: ShownStatus): ResourceStatus | undefined {
  if (kind === 'Provider') {
    const circuit = status.providers.find(({ name }) => name === metadata.name)?.circuit;
    return circuit && { circuit };
  }
  if (kind !== 'IdentityProvider') return undefined;
  const found = status.identityProviders.find(({ name }) => name === metadata.name);
  if (found === undefined) return undefined;
  const { enabled, reachable, problem, keys, fetchedAt, clientPromotion } = found;
  return { issuer: { enabled, reachable, problem, keys, fetchedAt, clientPromotion } };
}

/** `ES256 9kXf… of 2026-11-21 12:00`, or why there are none. */
function issuerText(issuer: Issuer | undefined): string {
  if (issuer === undefined) return NOTHING;
  const { enabled, problem, keys, fetchedAt } = issuer;
  if (!enabled) return 'switched off';
  const names = keys.map(({ kty, kid, alg }) => `${alg ?? kty} ${shortened(kid ?? 'without a name')}`);
  const known = keys.length === 0 ? 'no keys' : names.join(', ');
  const since = fetchedAt === undefined ? '' : ` of ${formatTime(fetchedAt)}`;
  return `${known}${since}${problem === undefined ? '' : `: ${problem}`}`;
}

function shortened(name: string): string {
  return name.length > 16 ? `${name.slice(0, 12)}…` : name;
}

/** `open for 12 s (5 failures)`. */
function circuitText(circuit: Circuit): string {
  if (circuit === undefined) return NOTHING;
  const { state, failures, retryInSeconds } = circuit;
  const wait = state === 'open' ? ` for ${retryInSeconds} s` : '';
  return `${state}${wait}${failures > 0 ? ` (${failures} failed)` : ''}`;
}

/** A resource as it is declared, ready for `limen apply`. */
function plain({ apiVersion, kind, metadata, spec }: ShownResource) {
  return { apiVersion, kind, metadata, spec };
}

function sourceOf({ origin }: ShownResource): string {
  if (origin.source === 'file') return `${origin.file}:${origin.line}`;
  return origin.because === undefined ? origin.source : `${origin.source} (${origin.because})`;
}

function resourceTable(resources: readonly ShownWithStatus[]): string {
  const kinds = new Set(resources.map(({ kind }) => kind));
  const [only] = kinds.size === 1 ? kinds : [];
  if (only === 'Provider') {
    const rows = resources.map((one) => [
      one.metadata.name,
      text(one.spec['type']),
      text(one.spec['baseUrl']),
      credential(one.spec),
      circuitText(one.status?.circuit),
      sourceOf(one),
    ]);
    return formatTable(['name', 'type', 'base url', 'credential', 'circuit', 'source'], rows);
  }
  if (only === 'IdentityProvider') {
    const rows = resources.map((one) => [
      one.metadata.name,
      text(one.spec['issuer']),
      list(one.spec['audiences']),
      issuerText(one.status?.issuer),
      sourceOf(one),
    ]);
    return formatTable(['name', 'issuer', 'audiences', 'keys', 'source'], rows);
  }
  if (only === 'Model') {
    const rows = resources.map((one) => [
      one.metadata.name,
      targets(one.spec['targets']),
      list(one.spec['aliases']),
      price(one.spec['price']),
      sourceOf(one),
    ]);
    return formatTable(['name', 'targets', 'aliases', 'USD per million in/out', 'source'], rows);
  }
  return formatTable(
    ['kind', 'name', 'source'],
    resources.map((one) => [one.kind, one.metadata.name, sourceOf(one)]),
  );
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function text(value: unknown): string {
  return typeof value === 'string' || typeof value === 'number' ? String(value) : NOTHING;
}

function list(value: unknown): string {
  return Array.isArray(value) && value.length > 0 ? value.map(text).join(',') : NOTHING;
}

function credential(spec: Readonly<Record<string, unknown>>): string {
  const source = spec['credential'];
  if (!isRecord(source)) return 'none';
  if ('env' in source) return `env ${text(source['env'])}`;
  return 'file' in source ? `file ${text(source['file'])}` : 'sealed';
}

/** `openai/gpt-4o-mini, then anthropic/claude-haiku-5-5`: later priorities after "then". */
function targets(value: unknown): string {
  if (!Array.isArray(value)) return NOTHING;
  const byPriority = Map.groupBy(value.filter(isRecord), (target) => Number(target['priority'] ?? 0));
  return [...byPriority]
    .sort(([left], [right]) => left - right)
    .map(([, group]) =>
      group
        .map(
          (target) =>
            `${text(target['provider'])}${target['model'] === undefined ? '' : `/${text(target['model'])}`}${group.length > 1 ? ` (${text(target['weight'])})` : ''}`,
        )
        .join(', '),
    )
    .join(' then ');
}

function price(value: unknown): string {
  return isRecord(value) ? `${text(value['input'])} / ${text(value['output'])}` : NOTHING;
}

interface StatusPart {
  readonly items: (status: ShownStatus) => unknown;
  readonly table: (status: ShownStatus) => string;
}

const WORKERS: StatusPart = {
  items: ({ workers }) => workers,
  table: ({ workers, snapshot }) =>
    formatTable(
      ['worker', 'snapshot', 'state', 'connected'],
      workers.map((one) => [
        one.worker,
        one.snapshot || NOTHING,
        one.snapshot === snapshot?.version ? 'up to date' : 'behind',
        formatTime(one.connectedAt),
      ]),
    ),
};

const NODES: StatusPart = {
  items: ({ envoys }) => envoys,
  table: ({ envoys }) =>
    formatTable(
      ['node', 'kind', 'state', 'version', 'refused because'],
      envoys.flatMap(({ node, kinds }) =>
        Object.entries(kinds).map(([kind, one]) => [
          node,
          kind,
          one.state,
          one.acknowledgedVersion || NOTHING,
          one.state === 'refused' ? (one.lastNack?.message ?? NOTHING) : NOTHING,
        ]),
      ),
    ),
};

const STATUS_PARTS: Readonly<Record<string, StatusPart | undefined>> = {
  worker: WORKERS,
  workers: WORKERS,
  node: NODES,
  nodes: NODES,
  envoys: NODES,
};
