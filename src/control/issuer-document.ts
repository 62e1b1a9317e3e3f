import { z } from 'zod';
import type { DeclaredIssuer } from '../config/secrets.ts';
import type { JsonWebKey } from '../core/json-web-key.ts';
import { whyNotFetched, type GuardedFetch, type GuardedResponse } from './guarded-fetch.ts';

const LARGEST_ANSWER_BYTES = 256 * 1024;
const MOST_KEYS = 50;

/** OpenID Connect Discovery 1.0, section 3; RFC 8414, section 2. */
const metadataSchema = z.object({ issuer: z.string(), jwks_uri: z.string() });

const text = z.string().max(4096);
/** RFC 7517, section 4. Private parts are read in order to refuse a key that has them. */
const keySchema = z.object({
  kty: z.enum(['RSA', 'EC', 'OKP']),
  kid: z.string().min(1).max(256).optional(),
  alg: text.optional(),
  use: text.optional(),
  key_ops: z.array(z.string()).optional(),
  crv: text.optional(),
  n: text.optional(),
  e: text.optional(),
  x: text.optional(),
  y: text.optional(),
  d: z.never().optional(),
});
const keySetSchema = z.object({ keys: z.array(z.unknown()) });

/** What an issuer answered. */
export interface FetchedKeys {
  /** Public keys that sign. */
  readonly keys: readonly JsonWebKey[];
  /** For how long it says that they may be kept; undefined where it says nothing. */
  readonly maxAgeSeconds: number | undefined;
}

/** Why there are no keys; ends a sentence, and quotes nothing of an answer. */
class IssuerProblem extends Error {}

/**
 * Fetches the keys of an issuer, from where its own document says or from where its entry says. Never throws.
 *
 * @param declared of kind discovery or jwksUri
 */
export async function fetchIssuerKeys(
  { issuer, keys }: DeclaredIssuer,
  fetch: GuardedFetch,
): Promise<FetchedKeys | { readonly problem: string }> {
  try {
    const uri = keys.kind === 'jwksUri' ? keys.uri : await discover(issuer, fetch);
    const answer = await get(uri, fetch);
    const found = readKeys(answer, hostOf(uri));
    return { keys: found, maxAgeSeconds: maxAgeOf(answer) };
  } catch (error) {
    if (error instanceof IssuerProblem) return { problem: error.message };
    throw error;
  }
}

/** The jwks_uri of the issuer's document, which must name this very issuer. */
async function discover(issuer: string, fetch: GuardedFetch): Promise<string> {
  const host = hostOf(issuer);
  for (const address of documentsOf(issuer)) {
    const answer = await get(address, fetch);
    if (answer.status === 404) continue;
    const metadata = metadataSchema.safeParse(readJson(answer, host));
    if (!metadata.success) throw new IssuerProblem(`the document of ${host} has no issuer or no jwks_uri.`);
    if (metadata.data.issuer !== issuer) {
      throw new IssuerProblem(
        `the document of ${host} is of another issuer; is a slash at the end too many or too few?`,
      );
    }
    return metadata.data.jwks_uri;
  }
  throw new IssuerProblem(`${host} has no discovery document; name its jwksUri if it has none.`);
}

/** OpenID Connect Discovery 1.0, section 4: after the path; RFC 8414, section 3.1: before it. */
function documentsOf(issuer: string): readonly string[] {
  const base = issuer.replace(/\/$/, '');
  const { origin, pathname } = new URL(base);
  const path = pathname === '/' ? '' : pathname;
  return [
    `${base}/.well-known/openid-configuration`,
    `${origin}/.well-known/oauth-authorization-server${path}`,
  ];
}

async function get(url: string, fetch: GuardedFetch): Promise<GuardedResponse> {
  try {
    return await fetch(url, {
      method: 'GET',
      headers: { accept: 'application/json' },
      maxBytes: LARGEST_ANSWER_BYTES,
    });
  } catch (error) {
    throw new IssuerProblem(whyNotFetched(error, hostOf(url)));
  }
}

function readJson({ status, body }: GuardedResponse, host: string): unknown {
  if (status !== 200) throw new IssuerProblem(`${host} answered ${status}.`);
  try {
    const value: unknown = JSON.parse(body.toString('utf8'));
    return value;
  } catch {
    throw new IssuerProblem(`${host} did not answer with JSON.`);
  }
}

/** One key that nobody can use leaves the others good. */
function readKeys(answer: GuardedResponse, host: string): readonly JsonWebKey[] {
  const set = keySetSchema.safeParse(readJson(answer, host));
  if (!set.success) throw new IssuerProblem(`${host} did not answer with a key set.`);
  const keys = set.data.keys.flatMap((item) => {
    const key = keySchema.safeParse(item);
    if (!key.success) return [];
    const { kty, kid, alg, use, key_ops: operations, crv, n, e, x, y } = key.data;
    const signs = (use === undefined || use === 'sig') && operations?.includes('verify') !== false;
    return signs ? [{ kty, kid, alg, use, crv, n, e, x, y }] : [];
  });
  if (keys.length === 0) throw new IssuerProblem(`the key set of ${host} has no public key that signs.`);
  return keys.slice(0, MOST_KEYS);
}

/** RFC 9111, section 5.2.2.1 */
function maxAgeOf({ headers }: GuardedResponse): number | undefined {
  const found = /(?:^|[\s,])max-age="?(\d{1,9})/i.exec(headers['cache-control'] ?? '')?.[1];
  return found === undefined ? undefined : Number(found);
}

function hostOf(url: string): string {
  return URL.canParse(url) ? new URL(url).host : 'its address';
}
