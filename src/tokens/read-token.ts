import { refusal } from './refusal.ts';
import { parseStrictObject, type JsonObject } from './strict-json.ts';

/** Longest token that is looked at: far beyond what issuers make, and what many servers take as a header. */
export const LONGEST_TOKEN = 8192;
/** Longest name of a key. */
export const LONGEST_KID = 256;

/** A token taken apart. Nothing in it is proved yet. */
export interface UnverifiedToken {
  readonly algorithm: string;
  readonly kid: string | undefined;
  readonly claims: JsonObject;
  /** What was signed: header and claims as they were sent. */
  readonly signed: Buffer;
  readonly signature: Buffer;
}

/** RFC 7519, section 5.1; RFC 9068, section 2.1. Compared without case. */
export const TOKEN_TYPES: ReadonlySet<string> = new Set([
  'jwt',
  'at+jwt',
  'application/jwt',
  'application/at+jwt',
]);

/**
 * Header parameters that bring the key themselves or tell where it is, which would make every signature a good one, and
 * those that change what the signature is about (RFC 7515, sections 4.1.2 to 4.1.11; RFC 7797).
 */
const REFUSED_PARAMETERS = ['jku', 'jwk', 'x5u', 'x5c', 'crit', 'b64'];

/**
 * Takes a signed JWT in compact form apart (RFC 7515, section 7.1).
 *
 * @param types one of which `typ` must be, in lower case; those of tokens unless said otherwise
 * @throws LimenError invalid_token
 */
export function readToken(token: string, types: ReadonlySet<string> = TOKEN_TYPES): UnverifiedToken {
  if (token.length > LONGEST_TOKEN) {
    throw refusal('too long', `This token is longer than ${LONGEST_TOKEN} characters.`);
  }
  const parts = token.split('.');
  const [header, claims, signature] = parts.map(decodePart);
  if (parts.length !== 3 || header === undefined || claims === undefined || signature === undefined) {
    throw refusal('not three parts in base64url');
  }
  return {
    ...readHeader(header, types),
    claims: readClaims(claims),
    signed: Buffer.from(token.slice(0, token.lastIndexOf('.')), 'ascii'),
    signature,
  };
}

/** One text for the same bytes, and no other: Node's decoder passes over what it does not know. */
function decodePart(part: string): Buffer | undefined {
  const bytes = Buffer.from(part, 'base64url');
  return part !== '' && bytes.toString('base64url') === part ? bytes : undefined;
}

function readHeader(bytes: Buffer, types: ReadonlySet<string>): Pick<UnverifiedToken, 'algorithm' | 'kid'> {
  const header = parseStrictObject(bytes);
  if (header === undefined) throw refusal('header is no JSON object with each member once');
  const refused = REFUSED_PARAMETERS.find((parameter) => Object.hasOwn(header, parameter));
  if (refused !== undefined) throw refusal(`header has ${refused}`);
  const { alg, kid, typ } = header;
  if (typeof alg !== 'string') throw refusal('alg is no text');
  if (!isOfType(typ, types)) throw refusal('typ is another');
  if (kid !== undefined && (typeof kid !== 'string' || kid.length === 0 || kid.length > LONGEST_KID)) {
    throw refusal('kid is no text of usual length');
  }
  return { algorithm: alg, kid };
}

/** Only a token may go without its type: what is no token must say so. */
function isOfType(typ: unknown, types: ReadonlySet<string>): boolean {
  if (typ === undefined) return types === TOKEN_TYPES;
  return typeof typ === 'string' && types.has(typ.toLowerCase());
}

function readClaims(bytes: Buffer): JsonObject {
  const claims = parseStrictObject(bytes);
  if (claims === undefined) throw refusal('claims are no JSON object with each member once');
  return claims;
}
