import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';

/** What the public listener answered to its health route. */
export type GatewayProbe =
  | { readonly state: 'answers'; readonly scheme: 'http' | 'https'; readonly status: number }
  /** TLS is up, and refuses whoever has no certificate of the clients' authority. */
  | { readonly state: 'wants a certificate' }
  | { readonly state: 'silent'; readonly error: unknown };

const PROBE_TIMEOUT_MS = 3000;
/** How OpenSSL names the alerts by which a server asks for a certificate in TLS 1.3 and 1.2. */
const CERTIFICATE_WANTED = /CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE|BAD_CERTIFICATE/;

/**
 * Asks the gateway of this machine whether it is ready, in clear and then by TLS. Its certificate is not verified:
 * it is made out to the name that clients use, and nothing is sent that a stranger could use.
 *
 * @param host an address, without brackets
 */
export async function probeGateway(host: string, port: number): Promise<GatewayProbe> {
  const inClear = await ask('http', host, port);
  // A listener with TLS breaks a connection in clear off; one that refuses connections has no TLS either.
  if (inClear.state !== 'silent' || codeOf(inClear.error) === 'ECONNREFUSED') return inClear;
  return await ask('https', host, port);
}

function ask(scheme: 'http' | 'https', host: string, port: number): Promise<GatewayProbe> {
  return new Promise((resolve) => {
    const options = {
      host,
      port,
      path: '/health/ready',
      agent: false as const,
      signal: AbortSignal.timeout(PROBE_TIMEOUT_MS),
    };
    const outgoing =
      scheme === 'http' ? httpRequest(options) : httpsRequest({ ...options, rejectUnauthorized: false });
    outgoing.on('response', (response) => {
      response.resume();
      // The connection goes once the answer was read; a late error says nothing new.
      resolve({ state: 'answers', scheme, status: response.statusCode ?? 0 });
    });
    outgoing.on('error', (error) => {
      const wanted = scheme === 'https' && CERTIFICATE_WANTED.test(codeOf(error));
      resolve(wanted ? { state: 'wants a certificate' } : { state: 'silent', error });
    });
    outgoing.end();
  });
}

function codeOf(error: unknown): string {
  if (typeof error !== 'object' || error === null || !('code' in error)) return '';
  return typeof error.code === 'string' ? error.code : '';
}
