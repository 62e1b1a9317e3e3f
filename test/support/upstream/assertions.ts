import { AssertionError } from 'node:assert';
import type { RecordedRequest } from './recorded-request.ts';

/** Headers that carry a credential in one of the APIs that Limen speaks. */
const CREDENTIAL_HEADERS = ['authorization', 'x-api-key', 'api-key', 'x-goog-api-key'];

/** Headers that belong between Envoy and Limen and must never leave the gateway. */
const INTERNAL_HEADER = /^(x-limen-|x-envoy-)/i;

function fail(message: string): never {
  throw new AssertionError({ message, stackStartFn: fail });
}

function describe(request: RecordedRequest): string {
  return `${request.method} ${request.path}`;
}

/** How a secret may look in a text: as it is, percent-encoded, or in base64 at any of the three alignments. */
function appearances(secret: string): string[] {
  const base64 = [0, 1, 2].map((padding) => {
    const encoded = Buffer.concat([Buffer.alloc(padding), Buffer.from(secret)]).toString('base64');
    // Drop the characters that also depend on what stands before and after the secret.
    return encoded.slice(padding === 0 ? 0 : padding + 1).replace(/.{0,3}=*$/, '');
  });
  const encoded = encodeURIComponent(secret);
  return [secret, encoded, ...base64.filter((text) => text.length >= 8)];
}

/**
 * Asserts that none of the secrets (a client's virtual key, other providers' credentials, redacted values) is
 * anywhere in what was sent, and that no header of the gateway's inside left it.
 *
 * @throws AssertionError that names the place, not the secret
 */
export function expectNotSent(requests: readonly RecordedRequest[], secrets: readonly string[]): void {
  for (const request of requests) {
    for (const [name] of request.rawHeaders) {
      if (INTERNAL_HEADER.test(name)) fail(`${describe(request)} carried the internal header ${name}.`);
    }
    for (const [index, secret] of secrets.entries()) {
      if (secret === '') fail('An empty text is in everything: name the secret.');
      for (const text of appearances(secret)) {
        if (request.path.includes(text)) fail(`${describe(request)} has secret ${index} in its path.`);
        const header = request.rawHeaders.find(
          ([name, value]) => name.includes(text) || value.includes(text),
        );
        if (header) fail(`${describe(request)} has secret ${index} in the header ${header[0]}.`);
        if (request.body.includes(text)) fail(`${describe(request)} has secret ${index} in its body.`);
      }
    }
  }
}

/**
 * Asserts that every request carried exactly this credential, once, and no other header that could carry one.
 *
 * @throws AssertionError; also when nothing was received, which would prove nothing
 */
export function expectCredential(requests: readonly RecordedRequest[], header: string, value: string): void {
  if (requests.length === 0) fail('Nothing was received, so no credential either.');
  for (const request of requests) {
    const values = request.headers(header);
    if (values.length !== 1 || values[0] !== value) {
      fail(`${describe(request)} carried ${values.length} of ${header}, not exactly the expected one.`);
    }
    for (const other of CREDENTIAL_HEADERS) {
      if (other === header.toLowerCase()) continue;
      if (request.headers(other).length > 0) fail(`${describe(request)} also carried ${other}.`);
    }
  }
}
