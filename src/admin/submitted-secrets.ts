import { resourceId, type SourcedResource } from '../config/origin.ts';
import type { SecretSource } from '../config/resources/common.ts';
import type { IdentityProviderResource, ProviderResource, Resource } from '../config/resources/index.ts';
import { compileBackend } from '../snapshot/backend.ts';
import { compileProvider } from '../snapshot/provider.ts';
import { HIDDEN } from '../vault/sealed-spec.ts';
import { hashKey } from './virtual-key.ts';

/** A virtual key that is given in clear is stored as its hash alone. */
export function withHashedKey(resource: Resource): Resource {
  if (resource.kind !== 'ApiKey' || !('value' in resource.spec.secret)) return resource;
  if (resource.spec.secret.value === HIDDEN) return resource;
  return { ...resource, spec: { ...resource.spec, secret: { sha256: hashKey(resource.spec.secret.value) } } };
}

/** Why a resource cannot be taken with the secrets that it says are there already. */
export interface SecretProblem {
  readonly path: string;
  readonly message: string;
}

/**
 * What was shown as hidden and sent back means the secret that is there already, as long as it goes where it went: who
 * may change a resource shall not have its secret sent to a host of theirs.
 */
export function withKeptSecret(
  resource: Resource,
  opened: readonly SourcedResource[],
): { readonly resource: Resource } | { readonly problem: SecretProblem } {
  const before = opened.find((sourced) => resourceId(sourced.resource) === resourceId(resource))?.resource;
  const moved = movedSecret(resource, before);
  if (moved !== undefined) {
    const message = `is ${HIDDEN}, and would go to another address than before: a secret that is there is not sent elsewhere`;
    return { problem: { path: moved, message } };
  }
  const kept = keptOf(resource, before);
  return kept === undefined
    ? { problem: { path: 'spec', message: `holds ${HIDDEN} where a secret belongs` } }
    : { resource: kept };
}

/** Path of the first hidden secret that would go to another scheme, host or port than the one that it stands for. */
function movedSecret(resource: Resource, before: Resource | undefined): string | undefined {
  const known = before === undefined ? [] : destinations(before);
  return destinations(resource).find(
    ({ path, address, secret }) =>
      isHidden(secret) && known.some((one) => one.path === path && one.address !== address),
  )?.path;
}

interface Destination {
  /** Of the secret. */
  readonly path: string;
  /** Where it is sent. */
  readonly address: string;
  readonly secret: Credential | undefined;
}

function destinations(resource: Resource): Destination[] {
  if (resource.kind === 'Backend') {
    const address = addressOf(compileBackend(resource));
    return [{ path: 'spec.credential', address, secret: resource.spec.credential }];
  }
  if (resource.kind === 'IdentityProvider') {
    const { issuer, clientPromotion } = resource.spec;
    if (clientPromotion === undefined) return [];
    const { tenantUrl = issuer, clientSecret } = clientPromotion;
    const path = 'spec.clientPromotion.clientSecret';
    return [{ path, address: new URL(tenantUrl).origin, secret: clientSecret }];
  }
  if (resource.kind !== 'Provider') return [];
  const { credential, tenants } = resource.spec;
  return compileProvider(resource).map((provider) => {
    const { tenant } = provider;
    const address = addressOf(provider);
    return tenant === undefined
      ? { path: 'spec.credential', address, secret: credential }
      : { path: `spec.tenants.${tenant}.credential`, address, secret: tenants?.[tenant]?.credential };
  });
}

function addressOf({
  scheme,
  host,
  port,
}: {
  readonly scheme: string;
  readonly host: string;
  readonly port: number;
}): string {
  return JSON.stringify([scheme, host, port]);
}

function isHidden(secret: Credential | undefined): boolean {
  if (secret === undefined) return false;
  return 'accessKeyId' in secret
    ? [secret.accessKeyId, secret.secretAccessKey, secret.sessionToken].some(isHidden)
    : 'value' in secret && secret.value === HIDDEN;
}

/** Undefined where nothing is there that a hidden secret could stand for. */
function keptOf(resource: Resource, before: Resource | undefined): Resource | undefined {
  switch (resource.kind) {
    case 'ApiKey':
      return 'value' in resource.spec.secret ? undefined : resource;
    case 'IdentityProvider': {
      const spec = keptIdentitySpec(
        resource.spec,
        before?.kind === 'IdentityProvider' ? before.spec : undefined,
      );
      return spec && { ...resource, spec };
    }
    case 'Backend': {
      const { credential } = resource.spec;
      if (credential === undefined) return resource;
      const kept = keptSource(credential, before?.kind === 'Backend' ? before.spec.credential : undefined);
      return kept && { ...resource, spec: { ...resource.spec, credential: kept } };
    }
    case 'Provider': {
      const spec = keptProviderSpec(resource.spec, before?.kind === 'Provider' ? before.spec : undefined);
      return spec && { ...resource, spec };
    }
    default:
      return resource;
  }
}

type IdentitySpec = IdentityProviderResource['spec'];

/** The secret that it shares, and those of the promotion of its clients. */
function keptIdentitySpec(spec: IdentitySpec, before: IdentitySpec | undefined): IdentitySpec | undefined {
  const { sharedSecret, clientPromotion } = spec;
  const shared = sharedSecret && keptSource(sharedSecret, before?.sharedSecret);
  if (sharedSecret !== undefined && shared === undefined) return undefined;
  const kept = { ...spec, ...(shared === undefined ? {} : { sharedSecret: shared }) };
  if (clientPromotion === undefined) return kept;
  const clientSecret = keptSource(clientPromotion.clientSecret, before?.clientPromotion?.clientSecret);
  const webhookSecret = keptSource(clientPromotion.webhookSecret, before?.clientPromotion?.webhookSecret);
  if (clientSecret === undefined || webhookSecret === undefined) return undefined;
  return { ...kept, clientPromotion: { ...clientPromotion, clientSecret, webhookSecret } };
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
