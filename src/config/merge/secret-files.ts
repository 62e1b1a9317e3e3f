import { isAbsolute, relative, resolve } from 'node:path';
import type { SourcedResource } from '../origin.ts';
import type { ApiKeyResource, ProviderResource, Resource } from '../resources/index.ts';
import type { Objection } from './objections.ts';

/**
 * Who may write to the database need not be who runs this machine: of its files, such a resource may name those
 * alone that were put there as secrets.
 */
export function withoutForeignFiles(
  resources: readonly SourcedResource[],
  folders: readonly string[] | undefined,
  object: Objection,
): readonly SourcedResource[] {
  if (folders === undefined) return resources;
  return resources.filter((sourced) => {
    if (sourced.origin.source !== 'database') return true;
    const foreign = secretFiles(sourced.resource).filter(({ file }) => !isInside(file, folders));
    for (const { path, file } of foreign) {
      object(sourced, path, {
        value: JSON.stringify(file),
        message: 'is not where secrets may lie',
        allowed: `a file in ${folders.join(', ')}`,
      });
    }
    return foreign.length === 0;
  });
}

/** Every file that a resource names as the place of a secret. */
function secretFiles({ kind, spec }: Resource): { path: readonly PropertyKey[]; file: string }[] {
  const secrets = {
    ...(kind === 'Provider' ? { credential: spec.credential } : {}),
    ...(kind === 'ApiKey' ? { secret: spec.secret } : {}),
    ...(kind === 'Backend' ? { credential: spec.credential } : {}),
    ...(kind === 'IdentityProvider' ? { sharedSecret: spec.sharedSecret } : {}),
  };
  const tenants = kind === 'Provider' ? Object.entries(spec.tenants ?? {}) : [];
  const promotion = kind === 'IdentityProvider' ? spec.clientPromotion : undefined;
  return [
    ...Object.entries(secrets).flatMap(([field, secret]) => filesOf(['spec', field], secret)),
    ...tenants.flatMap(([tenant, { credential }]) =>
      filesOf(['spec', 'tenants', tenant, 'credential'], credential),
    ),
    ...filesOf(['spec', 'clientPromotion', 'clientSecret'], promotion?.clientSecret),
    ...filesOf(['spec', 'clientPromotion', 'webhookSecret'], promotion?.webhookSecret),
  ];
}

type AnySecret = ApiKeyResource['spec']['secret'] | ProviderResource['spec']['credential'];

function filesOf(
  path: readonly PropertyKey[],
  secret: AnySecret,
): { path: readonly PropertyKey[]; file: string }[] {
  if (secret === undefined) return [];
  if ('file' in secret) return [{ path: [...path, 'file'], file: secret.file }];
  if (!('accessKeyId' in secret)) return [];
  return Object.entries(secret).flatMap(([part, source]) =>
    source !== undefined && 'file' in source ? [{ path: [...path, part, 'file'], file: source.file }] : [],
  );
}

function isInside(file: string, folders: readonly string[]): boolean {
  return folders.some((folder) => {
    const way = relative(folder, resolve(file));
    return way !== '' && !way.startsWith('..') && !isAbsolute(way);
  });
}
