import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { DEMO_ALGORITHMS, DemoIssuerKeys, type DemoAlgorithm, type DemoClaims } from './issuer-keys.ts';

export interface DemoIssuerOptions {
  /** 0 takes a free port. */
  readonly port: number;
  /** Where its keys are, or will be. */
  readonly keyFile: string;
  /** Default: ES256. */
  readonly algorithm?: DemoAlgorithm;
}

export interface DemoIssuer {
  /** What its tokens say in `iss`. */
  readonly url: string;
  mint(claims: DemoClaims): Promise<string>;
  /** Signs with a new key from now on. */
  rotate(): Promise<void>;
  close(): Promise<void>;
}

const HOST = '127.0.0.1';

/**
 * Starts an OIDC issuer for trying out what a real one does: discovery document, key set and tokens, on this machine
 * alone. It asks nobody for a password: whoever can read its key file is whom they say.
 *
 * @throws the listen error where the port is taken
 */
export async function startDemoIssuer({
  port,
  keyFile,
  algorithm = 'ES256',
}: DemoIssuerOptions): Promise<DemoIssuer> {
  const keys = new DemoIssuerKeys(keyFile);
  let url = '';
  const server = createServer((request, response) => void answer(request, response, url, keys));
  server.listen(port, HOST);
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('The demo issuer has no port.');
  url = `http://${HOST}:${address.port}`;
  await keys.prepare(url, algorithm);
  return {
    url,
    mint: (claims) => keys.mint(claims),
    rotate: () => keys.rotate(),
    async close() {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

async function answer(
  { method, url: path }: IncomingMessage,
  response: ServerResponse,
  issuer: string,
  keys: DemoIssuerKeys,
): Promise<void> {
  const send = (status: number, body: unknown): void => {
    response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'max-age=60' });
    response.end(JSON.stringify(body));
  };
  try {
    if (method !== 'GET') send(405, { error: 'only GET' });
    else if (path === '/jwks.json') send(200, await keys.publicKeys());
    else if (path?.startsWith('/.well-known/') === true && DOCUMENTS.has(path)) send(200, metadata(issuer));
    else send(404, { error: 'not found' });
  } catch (error) {
    send(500, { error: error instanceof Error ? error.message : 'internal error' });
  }
}

const DOCUMENTS: ReadonlySet<string> = new Set([
  '/.well-known/openid-configuration',
  '/.well-known/oauth-authorization-server',
]);

/** OpenID Connect Discovery 1.0, section 3, as far as it concerns tokens that are there already. */
function metadata(issuer: string) {
  return {
    issuer,
    jwks_uri: `${issuer}/jwks.json`,
    response_types_supported: ['id_token'],
    subject_types_supported: ['public'],
    id_token_signing_alg_values_supported: DEMO_ALGORITHMS,
  };
}
