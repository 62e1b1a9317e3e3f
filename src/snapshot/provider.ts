import type { ProviderResource } from '../config/resources/index.ts';
import type { DeclaredCredential } from '../config/secrets.ts';
import type { SnapshotProvider } from '../core/snapshot.ts';

type Spec = ProviderResource['spec'];

/** Locations of Vertex AI that are several regions: their hosts have names of another form. */
const VERTEX_MULTI_REGIONS: ReadonlySet<string> = new Set(['us', 'eu']);

/** A provider and those of its tenants. */
export function compileProvider(resource: ProviderResource): SnapshotProvider[] {
  return withTenants(resource).map(({ name, tenant, spec }) => compileOne(name, resource, tenant, spec));
}

/** By the names of their SnapshotProviders: what each sends its requests with. */
export function declaredCredentials(resource: ProviderResource): (readonly [string, DeclaredCredential])[] {
  return withTenants(resource).flatMap(({ name, spec }) => {
    const credential = declaredCredential(spec);
    return credential === undefined ? [] : [[name, credential] as const];
  });
}

/** A tenant's provider is the same in all but account and endpoint. */
function withTenants({ metadata, spec }: ProviderResource): {
  readonly name: string;
  readonly tenant?: string;
  readonly spec: Spec;
}[] {
  const { tenants = {}, ...shared } = spec;
  return [
    { name: metadata.name, spec: shared },
    ...Object.entries(tenants).map(([tenant, own]) => ({
      name: `${metadata.name}@${tenant}`,
      tenant,
      spec: { ...shared, credential: own.credential, baseUrl: own.baseUrl ?? shared.baseUrl },
    })),
  ];
}

function compileOne(
  name: string,
  { metadata }: ProviderResource,
  tenant: string | undefined,
  spec: Spec,
): SnapshotProvider {
  const url = new URL(baseUrlOf(metadata.name, spec));
  const scheme = url.protocol === 'https:' ? 'https' : 'http';
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  return {
    name,
    resource: metadata.name,
    tenant,
    tenantsOnly: spec.tenantsOnly ? true : undefined,
    identityHeaders: spec.identityHeaders,
    subjectAsUser: spec.subjectAsUser ?? false,
    type: spec.type,
    scheme,
    host,
    port: url.port === '' ? (scheme === 'https' ? 443 : 80) : Number(url.port),
    basePath: basePathOf(spec, url.pathname.replace(/\/+$/, '')),
    hasCredential: spec.credential !== undefined,
    caFile: spec.tls?.caFile,
    serverName: spec.tls?.serverName ?? host,
    connectTimeoutSeconds: spec.connectTimeoutSeconds,
    defaultMaxOutputTokens: spec.defaultMaxOutputTokens,
    options: optionsOf(spec),
  };
}

function baseUrlOf(name: string, spec: Spec): string {
  const { type, region, location = 'global' } = spec;
  if (spec.baseUrl !== undefined) return spec.baseUrl;
  switch (type) {
    case 'openai':
      return 'https://api.openai.com/v1';
    case 'anthropic':
      return 'https://api.anthropic.com/v1';
    case 'gemini':
      return 'https://generativelanguage.googleapis.com/v1beta';
    case 'bedrock':
      return `https://bedrock-runtime.${region}.amazonaws.com`;
    case 'vertex':
      if (location === 'global') return 'https://aiplatform.googleapis.com/v1';
      if (VERTEX_MULTI_REGIONS.has(location)) return `https://aiplatform.${location}.rep.googleapis.com/v1`;
      return `https://${location}-aiplatform.googleapis.com/v1`;
    case 'azure-openai':
    case 'openai-compatible':
      throw new TypeError(`Provider ${name} has no base URL; the schema asks for one.`);
  }
}

/** The endpoint that the Azure portal shows is the bare host. */
function basePathOf({ type }: Spec, path: string): string {
  return type === 'azure-openai' && (path === '' || path === '/openai') ? '/openai/v1' : path;
}

function optionsOf(spec: Spec): Record<string, string> {
  const options: Record<string, string | undefined> = {
    apis: apisOf(spec)?.join(','),
    apiVersion: spec.apiVersion,
    region: spec.region,
    project: spec.project,
    location: spec.type === 'vertex' ? (spec.location ?? 'global') : undefined,
    authentication: authenticationOf(spec),
  };
  return Object.fromEntries(
    Object.entries(options).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
  );
}

function apisOf({ type, apis }: Spec): readonly string[] | undefined {
  if (apis !== undefined) return apis;
  if (type === 'openai' || type === 'azure-openai') return ['chat', 'responses'];
  return type === 'openai-compatible' ? ['chat'] : undefined;
}

/** Bedrock takes two kinds of credentials, and only one of them signs. */
function authenticationOf({ type, credential }: Spec): string | undefined {
  if (type !== 'bedrock' || credential === undefined) return undefined;
  return 'accessKeyId' in credential ? 'sigv4' : 'bearer';
}

/** What is to be made of a provider's credential. */
function declaredCredential({ type, credential }: Spec): DeclaredCredential | undefined {
  if (credential === undefined) return undefined;
  if ('accessKeyId' in credential) return { kind: 'accessKey', source: credential };
  return { kind: type === 'vertex' ? 'googleServiceAccount' : 'text', source: credential };
}
