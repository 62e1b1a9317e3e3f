import type { Vault } from './vault.ts';

/** Fields whose `value` is a secret, wherever they stand in a spec. */
const SECRET_FIELDS: ReadonlySet<string> = new Set([
  'clientSecret',
  'credential',
  'secret',
  'sharedSecret',
  'webhookSecret',
]);

type JsonObject = Readonly<Record<string, unknown>>;

export interface ResourceIdentity {
  readonly kind: string;
  readonly name: string;
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Rebuilds a spec with every secret source replaced by what `change` makes of it. */
function mapSecrets(
  value: unknown,
  path: string,
  change: (source: JsonObject, path: string) => unknown,
): unknown {
  if (Array.isArray(value)) return value.map((item, index) => mapSecrets(item, `${path}[${index}]`, change));
  if (!isObject(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, member]) => {
      const inner = `${path}.${key}`;
      const isSecret = SECRET_FIELDS.has(key) && isObject(member);
      return [key, isSecret ? mapSources(member, inner, change) : mapSecrets(member, inner, change)];
    }),
  );
}

/** A secret has one source, or one for each of its parts: `{accessKeyId: {…}, secretAccessKey: {…}}`. */
function mapSources(
  secret: JsonObject,
  path: string,
  change: (source: JsonObject, path: string) => unknown,
): unknown {
  const parts = Object.entries(secret);
  if (!parts.some(([, part]) => isObject(part))) return change(secret, path);
  return Object.fromEntries(
    parts.map(([name, part]) => [name, isObject(part) ? mapSources(part, `${path}.${name}`, change) : part]),
  );
}

/** A spec as it is stored: every `value` of a secret replaced by `sealed`. */
export function sealSpec(vault: Vault, identity: ResourceIdentity, spec: unknown): unknown {
  return mapSecrets(spec, 'spec', (source, path) => {
    const { value, ...others } = source;
    if (typeof value !== 'string') return source;
    return { ...others, sealed: vault.seal(value, { ...identity, field: `${path}.value` }) };
  });
}

/**
 * The spec as it was before sealSpec.
 *
 * @throws UnsealError where a secret does not open
 */
export function openSpec(vault: Vault, identity: ResourceIdentity, spec: unknown): unknown {
  return mapSecrets(spec, 'spec', (source, path) => {
    const { sealed, ...others } = source;
    if (typeof sealed !== 'string') return source;
    return { ...others, value: vault.open(sealed, { ...identity, field: `${path}.value` }) };
  });
}

/** Whether any secret of a stored spec is due to be sealed again with the present key. */
export function isSpecStale(vault: Vault, spec: unknown): boolean {
  let stale = false;
  mapSecrets(spec, 'spec', (source) => {
    if (typeof source['sealed'] === 'string' && vault.isStale(source['sealed'])) stale = true;
    return source;
  });
  return stale;
}

/** What stands in place of a secret's value wherever a resource is shown. */
export const HIDDEN = '(hidden)';

/** A spec to show: no secret in it, neither clear nor sealed. */
export function hideSecrets(spec: unknown): unknown {
  return mapSecrets(spec, 'spec', (source) => {
    const { value, sealed, ...others } = source;
    return value === undefined && sealed === undefined ? source : { ...others, value: HIDDEN };
  });
}
