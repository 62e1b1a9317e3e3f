import { resourceId, type SourcedResource } from '../config/origin.ts';
import type { SecretSource } from '../config/resources/common.ts';
import type {
  BackendResource,
  IdentityProviderResource,
  ProviderResource,
  Resource,
} from '../config/resources/index.ts';
import { HIDDEN } from '../vault/sealed-spec.ts';
import { hashKey } from './virtual-key.ts';

/** A virtual key that is given in clear is stored as its hash alone. */
export function withHashedKey(resource: Resource): Resource {
  if (resource.kind !== 'ApiKey' || !('value' in resource.spec.secret)) return resource;
  if (resource.spec.secret.value === HIDDEN) return resource;
  return { ...resource, spec: { ...resource.spec, secret: { sha256: hashKey(resource.spec.secret.value) } } };
}

/** What was shown as hidden and sent back means the secret that is there already. */
export function withKeptSecret(resource: Resource, opened: readonly SourcedResource[]): Resource | undefined {
  if (resource.kind === 'ApiKey') return 'value' in resource.spec.secret ? undefined : resource;
  if (resource.kind === 'IdentityProvider') return withKeptSharedSecret(resource, opened);
  if (resource.kind === 'Backend') return withKeptBackendCredential(resource, opened);
  if (resource.kind !== 'Provider') return resource;
  const before = opened.find((sourced) => resourceId(sourced.resource) === resourceId(resource))?.resource;
  const spec = keptProviderSpec(resource.spec, before?.kind === 'Provider' ? before.spec : undefined);
  return spec && { ...resource, spec };
}

type ProviderSpec = ProviderResource['spec'];

/** The provider's own credential and those of its tenants. */
function keptProviderSpec(
  { credential, tenants, ...others }: ProviderSpec,
  before: ProviderSpec | undefined,
): ProviderSpec | undefined {
  const kept = credential && keptCredential(credential, before?.credential);
  if (credential !== undefined && kept === undefined) return undefined;
  const own: NonNullable<ProviderSpec['tenants']> = {};
  for (const [name, tenant] of Object.entries(tenants ?? {})) {
    const keptOwn = keptCredential(tenant.credential, before?.tenants?.[name]?.credential);
    if (keptOwn === undefined) return undefined;
    own[name] = { ...tenant, credential: keptOwn };
  }
  return {
    ...others,
    ...(kept === undefined ? {} : { credential: kept }),
    ...(tenants === undefined ? {} : { tenants: own }),
  };
}

function withKeptSharedSecret(
  resource: IdentityProviderResource,
  opened: readonly SourcedResource[],
): Resource | undefined {
  const { sharedSecret } = resource.spec;
  if (sharedSecret === undefined) return resource;
  const before = opened.find((sourced) => resourceId(sourced.resource) === resourceId(resource))?.resource;
  const kept = keptSource(
    sharedSecret,
    before?.kind === 'IdentityProvider' ? before.spec.sharedSecret : undefined,
  );
  return kept && { ...resource, spec: { ...resource.spec, sharedSecret: kept } };
}

function withKeptBackendCredential(
  resource: BackendResource,
  opened: readonly SourcedResource[],
): Resource | undefined {
  const { credential } = resource.spec;
  if (credential === undefined) return resource;
  const before = opened.find((sourced) => resourceId(sourced.resource) === resourceId(resource))?.resource;
  const kept = keptSource(credential, before?.kind === 'Backend' ? before.spec.credential : undefined);
  return kept && { ...resource, spec: { ...resource.spec, credential: kept } };
}

type Credential = NonNullable<ProviderResource['spec']['credential']>;

/** A credential with the secret that was there before in each place that says hidden; nothing where there was none. */
function keptCredential(credential: Credential, before: Credential | undefined): Credential | undefined {
  if (!('accessKeyId' in credential)) {
    return keptSource(credential, before === undefined || 'accessKeyId' in before ? undefined : before);
  }
  const parts = before !== undefined && 'accessKeyId' in before ? before : undefined;
  const accessKeyId = keptSource(credential.accessKeyId, parts?.accessKeyId);
  const secretAccessKey = keptSource(credential.secretAccessKey, parts?.secretAccessKey);
  const sessionToken = credential.sessionToken && keptSource(credential.sessionToken, parts?.sessionToken);
  if (!accessKeyId || !secretAccessKey || (credential.sessionToken && !sessionToken)) return undefined;
  return { accessKeyId, secretAccessKey, ...(sessionToken ? { sessionToken } : {}) };
}

function keptSource(source: SecretSource, before: SecretSource | undefined): SecretSource | undefined {
  return 'value' in source && source.value === HIDDEN ? before : source;
}
