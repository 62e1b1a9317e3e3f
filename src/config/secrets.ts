import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import type { ProviderSecrets, VirtualKey } from '../core/snapshot.ts';
import type { Environment } from './env.ts';
import { toErrorCode } from './load/error-code.ts';
import type { SecretSource } from './resources/common.ts';
import type { ApiKeyResource } from './resources/index.ts';

/** A virtual key that the configuration declares; its hash is known only once the secret was read. */
export interface DeclaredKey {
  /** Everything of the key but the hash. */
  readonly key: Omit<VirtualKey, 'hash'>;
  readonly secret: ApiKeyResource['spec']['secret'];
}

export interface SecretWarning {
  /** `Kind/name` of the resource whose secret is not to be had. */
  readonly resource: string;
  /** One sentence for the admin; it holds no secret. */
  readonly message: string;
}

export interface ResolvedSecrets {
  /** Credentials in clear, by provider name; one that could not be read is not in here. */
  readonly providers: ProviderSecrets;
  /** Declared keys that are in force; one whose secret could not be read is not in here. */
  readonly keys: readonly VirtualKey[];
  /** Concern only the resource they name: its requests fail, all others go on. */
  readonly warnings: readonly SecretWarning[];
}

/** A declared key shorter than this could be guessed over the network. */
export const SHORTEST_DECLARED_KEY = 16;

const LARGEST_SECRET_FILE_BYTES = 64 * 1024;

/**
 * Turns where secrets come from into the secrets themselves: the only step of configuration that reads the
 * environment and secret files. Never throws.
 *
 * @param environment of the control plane
 */
export async function resolveSecrets(
  declared: {
    readonly secretSources: Readonly<Record<string, SecretSource>>;
    readonly keys: readonly DeclaredKey[];
  },
  environment: Environment,
): Promise<ResolvedSecrets> {
  const warnings: SecretWarning[] = [];
  const providers: Record<string, string> = {};
  for (const [name, source] of Object.entries(declared.secretSources)) {
    const found = await readSecret(source, environment);
    if ('problem' in found)
      warnings.push({ resource: `Provider/${name}`, message: `Credential ${found.problem}` });
    else providers[name] = found.secret;
  }
  const keys: VirtualKey[] = [];
  for (const { key, secret } of declared.keys) {
    const hash = 'sha256' in secret ? { secret: secret.sha256 } : await hashOf(secret, environment);
    if ('problem' in hash) {
      warnings.push({
        resource: `ApiKey/${key.id.replace(/^config\//, '')}`,
        message: `Key ${hash.problem}`,
      });
    } else keys.push({ ...key, hash: hash.secret });
  }
  return { providers, keys, warnings };
}

type Found = { readonly secret: string } | { readonly problem: string };

async function hashOf(source: SecretSource, environment: Environment): Promise<Found> {
  const found = await readSecret(source, environment);
  if ('problem' in found) return found;
  if (found.secret.length < SHORTEST_DECLARED_KEY) {
    return { problem: `is shorter than ${SHORTEST_DECLARED_KEY} characters and not in force.` };
  }
  return { secret: createHash('sha256').update(found.secret).digest('hex') };
}

async function readSecret(source: SecretSource, environment: Environment): Promise<Found> {
  if ('value' in source) return usable(source.value, 'value');
  if ('env' in source) {
    const value = environment[source.env];
    if (!value) return { problem: `is missing: the environment variable ${source.env} is not set.` };
    return usable(value, `in the environment variable ${source.env}`);
  }
  try {
    return usable(await readSecretFile(source.file), `in the file ${source.file}`);
  } catch (error) {
    return { problem: `is missing: the file ${source.file} cannot be read (${toErrorCode(error)}).` };
  }
}

/** A secret travels in a header: white space around it is a slip, a control character inside breaks it. */
function usable(raw: string, where: string): Found {
  const secret = raw.trim();
  if (secret === '') return { problem: `${where} is empty.` };
  if (/[^\x20-\x7e]/.test(secret)) return { problem: `${where} holds characters that no header may carry.` };
  return { secret };
}

async function readSecretFile(path: string): Promise<string> {
  const handle = await open(path, 'r');
  try {
    const buffer = Buffer.alloc(LARGEST_SECRET_FILE_BYTES + 1);
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, 0);
    if (bytesRead > LARGEST_SECRET_FILE_BYTES)
      throw Object.assign(new Error('too large'), { code: 'too large' });
    return buffer.toString('utf8', 0, bytesRead);
  } finally {
    await handle.close();
  }
}
