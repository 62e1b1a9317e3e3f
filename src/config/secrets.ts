import { createHash } from 'node:crypto';
import { open, realpath } from 'node:fs/promises';
import { resolve, sep } from 'node:path';
import { z } from 'zod';
import type { JsonWebKey } from '../core/json-web-key.ts';
import { backendOfCluster } from '../core/gateway-names.ts';
import type { ProviderSecrets, VirtualKey } from '../core/snapshot.ts';
import type { Environment } from './env.ts';
import { toErrorCode } from './load/error-code.ts';
import type { AccessKeySource, SecretSource } from './resources/common.ts';
import type { ApiKeyResource } from './resources/index.ts';

/** A virtual key that the configuration declares; its hash is known only once the secret was read. */
export interface DeclaredKey {
  /** Everything of the key but the hash. */
  readonly key: Omit<VirtualKey, 'hash'>;
  readonly secret: ApiKeyResource['spec']['secret'];
}

/** A provider's credential as it is declared, by what is made of it. */
export type DeclaredCredential =
  /** Sent as it is: an API key, a bearer token. */
  | { readonly kind: 'text'; readonly source: SecretSource }
  /** Requests are signed with it (AWS). */
  | { readonly kind: 'accessKey'; readonly source: AccessKeySource }
  /** JSON of a key of a Google service account, for which access tokens are to be had. */
  | { readonly kind: 'googleServiceAccount'; readonly source: SecretSource };

/** Where the keys of an issuer come from. */
export type IssuerKeySource =
  /** The issuer's own document says where. */
  | { readonly kind: 'discovery' }
  | { readonly kind: 'jwksUri'; readonly uri: string }
  | { readonly kind: 'inline'; readonly keys: readonly JsonWebKey[] }
  | { readonly kind: 'sharedSecret'; readonly source: SecretSource };

/** What the promotion of clients at an identity provider needs, in clear: for the control plane's memory alone. */
export interface PromotionSecrets {
  /** Of the gateway's own client there. */
  readonly clientSecret: string;
  /** What its log stream proves itself with. */
  readonly webhookSecret: string;
}

/** An identity provider as far as its keys, and other secrets, are concerned. */
export interface DeclaredIssuer {
  /** Of the IdentityProvider. */
  readonly name: string;
  readonly issuer: string;
  readonly keys: IssuerKeySource;
  /** Where clients that register there are promoted. */
  readonly promotion?: Readonly<Record<keyof PromotionSecrets, SecretSource>> | undefined;
}

/** What access tokens are asked for with. The key is in clear: for the control plane's memory alone. */
export interface GoogleServiceAccount {
  readonly clientEmail: string;
  /** PEM, PKCS #8. */
  readonly privateKey: string;
  readonly privateKeyId?: string | undefined;
  /** Where its tokens come from. */
  readonly tokenUri: string;
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
  /** Of those providers that need access tokens, by name. */
  readonly googleAccounts: Readonly<Record<string, GoogleServiceAccount>>;
  /** Declared keys that are in force; one whose secret could not be read is not in here. */
  readonly keys: readonly VirtualKey[];
  /** Shared secrets in clear, by IdentityProvider. */
  readonly sharedSecrets: Readonly<Record<string, string>>;
  /** By IdentityProvider; one of which either is missing is not in here. */
  readonly promotions: Readonly<Record<string, PromotionSecrets>>;
  /** Concern only the resource they name: its requests fail, all others go on. */
  readonly warnings: readonly SecretWarning[];
}

/** A declared key, or the secret of a webhook, shorter than this could be guessed over the network. */
export const SHORTEST_DECLARED_KEY = 16;

const SHORTEST_SHARED_SECRET = 32;

const LARGEST_SECRET_FILE_BYTES = 64 * 1024;

/** What the control plane can read, and what of it is no secret of a resource. */
export interface SecretSurroundings {
  readonly environment: Environment;
  /**
   * Where the installation keeps its own secrets, the admin token and the encryption key among them: whoever writes
   * resources must not have those sent to a provider.
   */
  readonly ownFolder: string;
}

/**
 * Turns where secrets come from into the secrets themselves: the only step of configuration that reads the
 * environment and secret files. Never throws.
 */
export async function resolveSecrets(
  declared: {
    readonly credentials: Readonly<Record<string, DeclaredCredential>>;
    readonly keys: readonly DeclaredKey[];
    readonly issuers: readonly DeclaredIssuer[];
  },
  surroundings: SecretSurroundings,
): Promise<ResolvedSecrets> {
  const warnings: SecretWarning[] = [];
  const providers: Record<string, string> = {};
  const googleAccounts: Record<string, GoogleServiceAccount> = {};
  for (const [name, credential] of Object.entries(declared.credentials)) {
    const found = await readCredential(credential, surroundings);
    if ('problem' in found)
      warnings.push({ resource: ownerOf(name), message: `Credential ${found.problem}` });
    else if ('account' in found) googleAccounts[name] = found.account;
    else providers[name] = found.secret;
  }
  const keys: VirtualKey[] = [];
  for (const { key, secret } of declared.keys) {
    const hash = 'sha256' in secret ? { secret: secret.sha256 } : await hashOf(secret, surroundings);
    if ('problem' in hash) {
      warnings.push({
        resource: `ApiKey/${key.id.replace(/^config\//, '')}`,
        message: `Key ${hash.problem}`,
      });
    } else keys.push({ ...key, hash: hash.secret });
  }
  const sharedSecrets: Record<string, string> = {};
  for (const { name, keys: source } of declared.issuers) {
    if (source.kind !== 'sharedSecret') continue;
    const found = await readSharedSecret(source.source, surroundings);
    if ('problem' in found)
      warnings.push({ resource: `IdentityProvider/${name}`, message: `Shared secret ${found.problem}` });
    else sharedSecrets[name] = found.secret;
  }
  const promotions: Record<string, PromotionSecrets> = {};
  for (const { name, promotion } of declared.issuers) {
    if (promotion === undefined) continue;
    const found = await readPromotionSecrets(promotion, surroundings);
    if ('problem' in found)
      warnings.push({
        resource: `IdentityProvider/${name}`,
        message: `No client is promoted: ${found.problem}`,
      });
    else promotions[name] = found;
  }
  return { providers, googleAccounts, keys, sharedSecrets, promotions, warnings };
}

/** `Kind/name` of the resource that a credential is of. */
function ownerOf(name: string): string {
  const backend = backendOfCluster(name);
  return backend === undefined ? `Provider/${name}` : `Backend/${backend}`;
}

type Found = { readonly secret: string } | { readonly problem: string };

async function readCredential(
  credential: DeclaredCredential,
  surroundings: SecretSurroundings,
): Promise<Found | { readonly account: GoogleServiceAccount }> {
  switch (credential.kind) {
    case 'text':
      return readSecret(credential.source, surroundings);
    case 'accessKey':
      return readAccessKey(credential.source, surroundings);
    case 'googleServiceAccount': {
      const text = await readText(credential.source, surroundings);
      return 'problem' in text ? text : serviceAccount(text.raw);
    }
  }
}

/** JSON of an AccessKey, as ProviderSecrets has it. */
async function readAccessKey(source: AccessKeySource, surroundings: SecretSurroundings): Promise<Found> {
  const parts: Record<string, string> = {};
  for (const [name, part] of Object.entries(source)) {
    if (part === undefined) continue;
    const found = await readSecret(part, surroundings);
    if ('problem' in found) return { problem: `${name} ${found.problem}` };
    parts[name] = found.secret;
  }
  return { secret: JSON.stringify(parts) };
}

/** Google Cloud docs, "Create and delete service account keys". */
const serviceAccountSchema = z.object({
  type: z.literal('service_account'),
  client_email: z.string().min(1),
  private_key: z.string().min(1),
  private_key_id: z.string().min(1).optional(),
  token_uri: z.url({ protocol: /^https?$/ }),
});

function serviceAccount(
  text: string,
): { readonly account: GoogleServiceAccount } | { readonly problem: string } {
  const wrong = {
    problem:
      'is no key of a service account: JSON with type "service_account", client_email, private_key and token_uri.',
  };
  try {
    const key = serviceAccountSchema.safeParse(JSON.parse(text));
    if (!key.success) return wrong;
    const { client_email: clientEmail, private_key: privateKey, private_key_id: privateKeyId } = key.data;
    return { account: { clientEmail, privateKey, privateKeyId, tokenUri: key.data.token_uri } };
  } catch {
    return wrong;
  }
}

async function hashOf(source: SecretSource, surroundings: SecretSurroundings): Promise<Found> {
  const found = await readSecret(source, surroundings);
  if ('problem' in found) return found;
  if (found.secret.length < SHORTEST_DECLARED_KEY) {
    return { problem: `is shorter than ${SHORTEST_DECLARED_KEY} characters and not in force.` };
  }
  return { secret: createHash('sha256').update(found.secret).digest('hex') };
}

/** RFC 7518, section 3.2: a key for HS256 has at least as many bits as its hash. */
async function readSharedSecret(source: SecretSource, surroundings: SecretSurroundings): Promise<Found> {
  const found = await readSecret(source, surroundings);
  if ('problem' in found || found.secret.length >= SHORTEST_SHARED_SECRET) return found;
  return { problem: `is shorter than ${SHORTEST_SHARED_SECRET} bytes: its tokens are refused.` };
}

async function readPromotionSecrets(
  { clientSecret, webhookSecret }: NonNullable<DeclaredIssuer['promotion']>,
  surroundings: SecretSurroundings,
): Promise<PromotionSecrets | { readonly problem: string }> {
  const client = await readSecret(clientSecret, surroundings);
  if ('problem' in client) return { problem: `clientSecret ${client.problem}` };
  const webhook = await readSecret(webhookSecret, surroundings);
  if ('problem' in webhook) return { problem: `webhookSecret ${webhook.problem}` };
  if (webhook.secret.length < SHORTEST_DECLARED_KEY)
    return { problem: `webhookSecret is shorter than ${SHORTEST_DECLARED_KEY} characters.` };
  return { clientSecret: client.secret, webhookSecret: webhook.secret };
}

async function readSecret(source: SecretSource, surroundings: SecretSurroundings): Promise<Found> {
  const text = await readText(source, surroundings);
  return 'problem' in text ? text : usable(text.raw, text.where);
}

type ReadText = { readonly raw: string; readonly where: string } | { readonly problem: string };

async function readText(source: SecretSource, surroundings: SecretSurroundings): Promise<ReadText> {
  if ('value' in source) return { raw: source.value, where: 'value' };
  if ('env' in source) {
    const raw = surroundings.environment[source.env];
    if (!raw) return { problem: `is missing: the environment variable ${source.env} is not set.` };
    return { raw, where: `in the environment variable ${source.env}` };
  }
  try {
    return {
      raw: await readSecretFile(source.file, surroundings.ownFolder),
      where: `in the file ${source.file}`,
    };
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

async function readSecretFile(path: string, ownFolder: string): Promise<string> {
  // Links are followed first: what counts is where the file is.
  const [file, own] = await Promise.all([
    realpath(path),
    realpath(ownFolder).catch(() => resolve(ownFolder)),
  ]);
  if (file.startsWith(`${own}${sep}`)) {
    throw Object.assign(new Error('own'), { code: 'it is in the data folder of Limen itself' });
  }
  const handle = await open(file, 'r');
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
