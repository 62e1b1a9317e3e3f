import { once } from 'node:events';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { connect as connectHttp2 } from 'node:http2';
import { request as httpsRequest } from 'node:https';
import { connect as connectTcp, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls, createServer, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { LEAST_CAPABILITIES, ALL_CAPABILITIES } from '../../src/core/capabilities.ts';
import { CertificateAuthority, type IssuedCertificate } from '../support/certificates.ts';
import { startDataPlane, type DataPlane, type ProviderInput } from '../support/data-plane.ts';
import { request, requestBody } from '../support/data-plane/requests.ts';
import {
  gatewayResource,
  modelResource,
  providerResource,
  startGateway,
  type ResourceObject,
  type TestGateway,
} from '../support/gateway.ts';
import { eventually, removeFolder } from '../support/running-envoy.ts';
import {
  anthropic,
  openai,
  type Script,
  type ScriptedUpstream,
  startUpstream,
} from '../support/upstream/index.ts';

const HOST = 'gateway.test';
/** The files are looked at every two seconds, and the machine may be busy. */
const IN_FORCE_WITHIN_MS = 20_000;

/** The port that a server listens on. */
function portOf(server: Server): number {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('expected a TCP address');
  return address.port;
}

interface Handshake {
  readonly socket: TLSSocket;
  readonly fingerprint: string;
  readonly protocol: string | false | null;
}

/** Opens a TLS connection. With TLS 1.3 a server that refuses the client's certificate says so only afterwards. */
async function handshake(port: number, options: ConnectionOptions): Promise<Handshake> {
  const socket = connectTls({ host: '127.0.0.1', port, servername: HOST, ...options });
  await once(socket, 'secureConnect');
  const { fingerprint256 } = socket.getPeerCertificate();
  return { socket, fingerprint: fingerprint256, protocol: socket.alpnProtocol };
}

interface SecureAnswer {
  readonly status: number;
  readonly text: string;
}

/** One HTTP/1.1 exchange on a TLS connection of its own. @throws where the connection is refused */
async function secureCall(
  port: number,
  options: ConnectionOptions,
  call: { readonly path: string; readonly key?: string; readonly body?: string },
): Promise<SecureAnswer> {
  return await new Promise((resolve, reject) => {
    const { key, body } = call;
    const outgoing = httpsRequest(
      {
        host: '127.0.0.1',
        port,
        path: call.path,
        method: body === undefined ? 'GET' : 'POST',
        agent: false,
        servername: HOST,
        headers: {
          ...(key === undefined ? {} : { authorization: `Bearer ${key}` }),
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        ...options,
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') }),
        );
      },
    );
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

/** A stream over HTTP/2 that stays open until the upstream ends it. */
class OpenStream {
  readonly #session;
  readonly #stream;
  readonly status: Promise<number>;
  readonly ended: Promise<boolean>;
  text = '';

  constructor(port: number, options: ConnectionOptions, key: string, body: string) {
    this.#session = connectHttp2(`https://${HOST}`, {
      createConnection: () => {
        return connectTls({ host: '127.0.0.1', port, servername: HOST, ALPNProtocols: ['h2'], ...options });
      },
    });
    this.#session.on('error', () => undefined);
    this.#stream = this.#session.request({
      ':method': 'POST',
      ':path': '/v1/chat/completions',
      authorization: `Bearer ${key}`,
      'content-type': 'application/json',
    });
    this.#stream.on('error', () => undefined);
    this.status = new Promise((resolve) => {
      this.#stream.once('response', (headers) => resolve(headers[':status'] ?? 0));
      this.#stream.once('close', () => resolve(0));
    });
    this.ended = new Promise((resolve) => {
      let whole = false;
      this.#stream.once('end', () => (whole = true));
      this.#stream.once('close', () => resolve(whole && this.#stream.rstCode === 0));
    });
    this.#stream.on('data', (chunk: Buffer) => (this.text += chunk.toString('utf8')));
    this.#stream.end(body);
  }

  close(): void {
    this.#session.destroy();
  }
}

describe('the public listener', () => {
  const authority = new CertificateAuthority('Limen Test CA');
  const clients = new CertificateAuthority('Clients');
  const strangers = new CertificateAuthority('Strangers');
  const trusted = { ca: authority.certificate };
  let folder: string;
  let upstream: ScriptedUpstream;
  let gateway: TestGateway;
  let port: number;
  let files: { readonly certificateFile: string; readonly keyFile: string };
  let clientCaFile: string;

  function configuration(tls: object, models: readonly string[] = ['fast']): readonly ResourceObject[] {
    return [
      gatewayResource({ tls }),
      providerResource('open', { type: 'openai', baseUrl: `${upstream.url}/v1`, credential: 'sk-open' }),
      ...models.map((name) => modelResource(name, [{ provider: 'open', model: 'gpt-4o-mini' }])),
    ];
  }

  /** As renewing programs do: one file after the other. */
  async function install({ certificate, key }: IssuedCertificate): Promise<void> {
    await writeFile(files.certificateFile, certificate);
    await writeFile(files.keyFile, key);
  }

  async function currentFingerprint(options: ConnectionOptions = trusted): Promise<string> {
    const { socket, fingerprint } = await handshake(port, options);
    socket.destroy();
    return fingerprint;
  }

  async function inForce(fingerprint: string): Promise<void> {
    await eventually(
      async () => ((await currentFingerprint()) === fingerprint ? true : undefined),
      IN_FORCE_WITHIN_MS,
    );
  }

  async function fingerprintOf({ certificate, key }: IssuedCertificate): Promise<string> {
    const server = createServer({ cert: certificate, key }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    server.on('connection', (socket) => socket.on('error', () => undefined));
    const { socket, fingerprint } = await handshake(portOf(server), trusted);
    socket.destroy();
    server.close();
    return fingerprint;
  }

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'limen-tls-'));
    files = { certificateFile: join(folder, 'tls.crt'), keyFile: join(folder, 'tls.key') };
    clientCaFile = join(folder, 'clients.crt');
    await writeFile(clientCaFile, clients.certificate);
    await install(authority.issue({ names: [HOST] }));
    upstream = await startUpstream();
    gateway = await startGateway({
      config: configuration(files),
      tls: { ca: authority.certificate, servername: HOST },
    });
    port = Number(new URL(gateway.url).port);
  });
  afterAll(async () => {
    await gateway.stop();
    await upstream.close();
    await removeFolder(folder);
  });
  beforeEach(() => {
    upstream.reset();
    upstream.always(openai.answer({ text: ['fine'] }));
  });

  test('`limen up` knows that it is ready', async () => {
    const said = await eventually(() => /Limen is ready: (\S+)/.exec(gateway.logs())?.[1]);
    expect(said).toBe(gateway.url);
  });

  const ask = { path: '/v1/chat/completions', body: requestBody('chat', { model: 'fast' }) };

  test('speaks HTTP/1.1 and HTTP/2, as ALPN says, and nothing in clear', async () => {
    for (const [offered, chosen] of [
      [['h2', 'http/1.1'], 'h2'],
      [['http/1.1'], 'http/1.1'],
      [undefined, false],
    ] as const) {
      const { socket, protocol } = await handshake(port, {
        ...trusted,
        ...(offered === undefined ? {} : { ALPNProtocols: [...offered] }),
      });
      expect(protocol).toBe(chosen);
      expect(socket.authorized).toBe(true);
      expect(socket.getProtocol()).toBe('TLSv1.3');
      socket.destroy();
    }
    expect(await secureCall(port, trusted, { ...ask, key: gateway.key })).toMatchObject({
      status: 200,
      text: expect.stringContaining('fine'),
    });
    const stream = new OpenStream(port, trusted, gateway.key, requestBody('chat', { model: 'fast' }));
    expect([await stream.status, await stream.ended]).toEqual([200, true]);
    expect(stream.text).toContain('fine');
    stream.close();

    const plain = connectTcp(port, '127.0.0.1');
    plain.write('GET /health/live HTTP/1.1\r\nhost: a\r\n\r\n');
    const bytes: Buffer[] = [];
    plain.on('data', (chunk: Buffer) => bytes.push(chunk));
    plain.on('error', () => undefined);
    await once(plain, 'close');
    expect(Buffer.concat(bytes).toString('latin1')).not.toContain('HTTP/');
  });

  test.each(['TLSv1', 'TLSv1.1'] as const)('refuses %s', async (version) => {
    await expect(
      handshake(port, {
        ...trusted,
        minVersion: version,
        maxVersion: version,
        ciphers: 'DEFAULT@SECLEVEL=0',
      }),
    ).rejects.toThrow(/protocol version/i);
  });

  test('a renewed certificate is in force for new connections, and open streams go on to their end', async () => {
    let finish = (): void => undefined;
    const finished = new Promise<void>((resolve) => (finish = resolve));
    upstream.next(heldStream(finished));
    const stream = new OpenStream(port, trusted, gateway.key, streamed);
    expect(await stream.status).toBe(200);
    await eventually(() => (stream.text.includes('begins') ? true : undefined));
    const before = await listenerCounters(gateway);

    const renewed = authority.issue({ names: [HOST] });
    await install(renewed);
    await inForce(await fingerprintOf(renewed));
    expect(await secureCall(port, trusted, { ...ask, key: gateway.key })).toMatchObject({ status: 200 });
    expect(await listenerCounters(gateway)).toEqual(before);

    finish();
    expect(await stream.ended).toBe(true);
    expect(stream.text).toContain('ends');
    expect(stream.text).toMatch(/\[DONE\]\n\n$/);
    stream.close();
  });

  test('files that cannot be used leave the last good certificate in force, and nothing else waits', async () => {
    const good = await currentFingerprint();
    const next = authority.issue({ names: [HOST] });
    const broken: readonly (readonly [string, IssuedCertificate])[] = [
      ['holds no PEM certificate', { ...next, certificate: 'no certificate at all' }],
      ['holds no PEM certificate', { ...next, certificate: next.certificate.replace(/M/g, 'Q') }],
      ['holds the key of another certificate', { ...next, key: strangers.issue({ names: [HOST] }).key }],
      ['holds no PEM private key', { ...next, key: next.key.slice(0, 80) }],
    ];
    for (const [index, [problem, pair]] of broken.entries()) {
      await install(pair);
      await eventually(async () => {
        const text = JSON.stringify(await gateway.admin('GET', '/status'));
        return text.includes(`the last good one stays: the file`) && text.includes(problem)
          ? true
          : undefined;
      }, IN_FORCE_WITHIN_MS);
      expect(await currentFingerprint()).toBe(good);
      // A change of something else comes into force all the same.
      const name = `fast-${String(index)}`;
      gateway.writeConfig(configuration(files, ['fast', name]));
      const body = requestBody('chat', { model: name });
      await eventually(async () => {
        const { status } = await secureCall(port, trusted, { ...ask, key: gateway.key, body });
        return status === 200 ? true : undefined;
      }, IN_FORCE_WITHIN_MS);
      expect(await currentFingerprint()).toBe(good);
    }
    expect(gateway.logs()).not.toContain(next.key.split('\n')[1]);
    await install(next);
    await inForce(await fingerprintOf(next));
    expect(JSON.stringify(await gateway.admin('GET', '/status'))).not.toContain('last good');
  });

  test('with clientCaFile, clients must have a certificate of that authority', async () => {
    gateway.writeConfig(configuration({ ...files, clientCaFile }));
    const member = clients.issue({ names: ['member'] });
    const stranger = strangers.issue({ names: ['stranger'] });
    const expired = clients.issue({ names: ['former member'], days: -1 });
    const as = ({ certificate, key }: IssuedCertificate) => ({ ...trusted, cert: certificate, key });
    // The change is in force as soon as a client without a certificate is refused.
    await eventually(async () => {
      const refused = await secureCall(port, trusted, { path: '/health/live' }).then(
        () => false,
        () => true,
      );
      return refused ? true : undefined;
    }, IN_FORCE_WITHIN_MS);
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
      const refusals = [trusted, as(stranger), as(expired)];
      for (const options of refusals) {
        await expect(
          secureCall(port, { ...options, maxVersion }, { ...ask, key: gateway.key }),
        ).rejects.toThrow();
      }
      expect(upstream.requests).toEqual([]);
      expect(
        await secureCall(port, { ...as(member), maxVersion }, { ...ask, key: gateway.key }),
      ).toMatchObject({
        status: 200,
      });
      upstream.reset();
      upstream.always(openai.answer({ text: ['fine'] }));
    }
    // A certificate opens the door; a key is still needed.
    expect((await secureCall(port, as(member), ask)).status).toBe(401);
    expect(await gateway.configDump()).not.toMatch(/BEGIN (EC )?PRIVATE KEY/);
  });
});

const streamed = requestBody('chat', { model: 'fast', stream: true, includeUsage: true });

/** A stream that stops after its first event until it may go on. */
function heldStream(finished: Promise<void>): Script {
  const chunk = (delta: object, finish: string | null): string =>
    `data: ${JSON.stringify({ id: 'c', object: 'chat.completion.chunk', created: 1, model: 'm', choices: [{ index: 0, delta, finish_reason: finish }] })}\n\n`;
  return async ({ request: sent, respond }) => {
    await sent.received;
    respond.head(200, { 'content-type': 'text/event-stream' });
    await respond.write(chunk({ role: 'assistant', content: 'begins' }, null));
    await finished;
    await respond.write(chunk({ content: ' and ends' }, null));
    await respond.write(chunk({}, 'stop'));
    respond.end('data: [DONE]\n\n');
  };
}

/** What tells of a listener that was replaced, wholly or in place, and of connections that had to go. */
async function listenerCounters(gateway: TestGateway): Promise<readonly number[]> {
  const names = [
    'listener_manager.listener_added',
    'listener_manager.listener_modified',
    'listener_manager.listener_removed',
    'listener_manager.listener_in_place_updated',
    'listener_manager.total_listeners_draining',
    'listener_manager.total_filter_chains_draining',
    'http.gateway.downstream_cx_drain_close',
  ];
  return await Promise.all(names.map(async (name) => await gateway.stat(name)));
}

/** Ends TLS in front of a scripted upstream, and counts what it was sent inside TLS. */
class TlsFront {
  readonly port: number;
  /** Bytes of requests that came through TLS, of all connections. */
  received = 0;
  /** Server names that were asked for; undefined where none was. */
  serverNames: (string | undefined)[] = [];
  protocols: (string | false | null)[] = [];
  connections = 0;
  readonly #close: () => void;

  private constructor(port: number, close: () => void) {
    this.port = port;
    this.#close = close;
  }

  static async start(
    { certificate, key }: IssuedCertificate,
    upstreamPort: number,
    protocols: readonly string[],
  ): Promise<TlsFront> {
    const server = createServer({ cert: certificate, key, ALPNProtocols: [...protocols] });
    const sockets = new Set<Socket>();
    const keep = (socket: Socket): void => {
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.once('close', () => sockets.delete(socket));
    };
    server.on('connection', (socket) => {
      front.connections += 1;
      keep(socket);
    });
    server.on('tlsClientError', () => undefined);
    server.on('secureConnection', (socket) => {
      keep(socket);
      front.serverNames.push(typeof socket.servername === 'string' ? socket.servername : undefined);
      front.protocols.push(socket.alpnProtocol);
      const behind = connectTcp(upstreamPort, '127.0.0.1');
      keep(behind);
      socket.on('data', (chunk: Buffer) => (front.received += chunk.length));
      socket.pipe(behind).pipe(socket);
      socket.once('close', () => behind.destroy());
      behind.once('close', () => socket.destroy());
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const front = new TlsFront(portOf(server), () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    });
    return front;
  }

  reset(): void {
    this.received = 0;
    this.serverNames = [];
    this.protocols = [];
    this.connections = 0;
  }

  close(): void {
    this.#close();
  }
}

describe.each([
  ['all capabilities', ALL_CAPABILITIES],
  ['the least capabilities', LEAST_CAPABILITIES],
])('upstream TLS, with %s', (_, capabilities) => {
  const authority = new CertificateAuthority('Providers');
  const strangers = new CertificateAuthority('Strangers');
  let folder: string;
  let caFile: string;
  let plane: DataPlane;
  let http1: ScriptedUpstream;
  let http2: ScriptedUpstream;
  let fronts: Readonly<Record<string, TlsFront>>;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'limen-tls-'));
    caFile = join(folder, 'ca.crt');
    await writeFile(caFile, authority.certificate);
    http1 = await startUpstream();
    http2 = await startUpstream({ protocol: 'h2c' });
    const certificates: Readonly<Record<string, IssuedCertificate>> = {
      right: authority.issue({ names: ['localhost'] }),
      wildcard: authority.issue({ names: ['*.providers.test'] }),
      address: authority.issue({ names: ['127.0.0.1'] }),
      'other-name': authority.issue({ names: ['elsewhere.test', '*.localhost'] }),
      'unknown-authority': strangers.issue({ names: ['localhost'] }),
      expired: authority.issue({ names: ['localhost'], days: -1 }),
    };
    fronts = Object.fromEntries(
      await Promise.all([
        ...Object.entries(certificates).map(
          async ([name, issued]) => [name, await TlsFront.start(issued, http1.port, ['http/1.1'])] as const,
        ),
        TlsFront.start(certificates['right'] ?? expect.fail(), http2.port, ['h2', 'http/1.1']).then(
          (front) => ['right-h2', front] as const,
        ),
      ]),
    );
    const provider = (
      type: 'openai' | 'anthropic',
      front: string,
      tls: ProviderInput['tls'],
      host: string,
    ): ProviderInput => ({
      type,
      baseUrl: `https://${host}:${String(fronts[front]?.port)}/v1`,
      credential: `sk-of-${front}`,
      ...(tls === undefined ? {} : { tls }),
    });
    const targets: Readonly<
      Record<string, readonly [front: string, tls: ProviderInput['tls'], host?: string]>
    > = {
      right: ['right', { caFile }],
      'right-h2': ['right-h2', { caFile }],
      wildcard: ['wildcard', { caFile, serverName: 'eu.providers.test' }],
      address: ['address', { caFile }, '127.0.0.1'],
      override: ['other-name', { caFile, serverName: 'elsewhere.test' }],
      'wrong-name': ['other-name', { caFile }],
      'wrong-override': ['right', { caFile, serverName: 'elsewhere.test' }],
      'two-labels': ['wildcard', { caFile, serverName: 'a.b.providers.test' }],
      'name-for-address': ['right', { caFile }, '127.0.0.1'],
      'unknown-authority': ['unknown-authority', { caFile }],
      'system-authorities': ['right', undefined],
      expired: ['expired', { caFile }],
    };
    const entries = Object.entries(targets);
    plane = await startDataPlane({
      capabilities,
      gateway: { retries: { attempts: 2 } },
      providers: Object.fromEntries(
        entries.flatMap(([name, [front, tls, host = 'localhost']]) => [
          [name, provider('openai', front, tls, host)],
          [`${name}-anthropic`, provider('anthropic', front, tls, host)],
        ]),
      ),
      models: Object.fromEntries([
        ...entries.map(([name]) => [name, { targets: [{ provider: name }] }] as const),
        ...entries.map(
          ([name]) => [`${name}-converted`, { targets: [{ provider: `${name}-anthropic` }] }] as const,
        ),
        ['fails-over', { targets: [{ provider: 'wrong-name' }, { provider: 'right', priority: 1 }] }],
      ]),
    });
  });
  afterAll(async () => {
    await plane.stop();
    await Promise.all([http1.close(), http2.close()]);
    for (const front of Object.values(fronts)) front.close();
    await removeFolder(folder);
  });
  beforeEach(() => {
    http1.reset();
    http2.reset();
    for (const front of Object.values(fronts)) front.reset();
    plane.forget();
  });

  test.each([
    ['right', 'right', 'localhost'],
    ['right-h2', 'right-h2', 'localhost'],
    ['wildcard', 'wildcard', 'eu.providers.test'],
    ['address', 'address', undefined],
    ['override', 'other-name', 'elsewhere.test'],
  ])('%s: the certificate is right, and the request goes through', async (model, name, serverName) => {
    const front = fronts[name] ?? expect.fail();
    const upstream = name === 'right-h2' ? http2 : http1;
    upstream.always(openai.answer({ text: ['fine'] }));
    const native = await plane.call(request('chat', { model }));
    expect([native.status, native.text]).toEqual([200, expect.stringContaining('fine')]);
    expect(upstream.only().httpVersion).toBe(name === 'right-h2' ? '2.0' : '1.1');
    upstream.expectCredential('authorization', `Bearer sk-of-${name}`);
    expect(await plane.rowOf(native)).toMatchObject({ attempts: 1, errorCode: '' });
    upstream.reset();
    upstream.always(anthropic.answer({ text: ['fine'] }));
    const converted = await plane.call(request('chat', { model: `${model}-converted`, stream: true }));
    expect([converted.status, converted.text]).toEqual([200, expect.stringContaining('fine')]);
    upstream.expectCredential('x-api-key', `sk-of-${name}`);
    expect(new Set(front.serverNames)).toEqual(new Set([serverName]));
    expect(new Set(front.protocols)).toEqual(new Set([name === 'right-h2' ? 'h2' : 'http/1.1']));
  });

  describe.each([
    ['wrong-name', 'other-name'],
    ['wrong-override', 'right'],
    ['two-labels', 'wildcard'],
    ['name-for-address', 'right'],
    ['unknown-authority', 'unknown-authority'],
    ['system-authorities', 'right'],
    ['expired', 'expired'],
  ])('%s', (model, name) => {
    test.each([
      ['chat', model],
      ['messages', model],
      ['chat', `${model}-converted`],
      ['messages', `${model}-converted`],
    ] as const)('is refused: %s to %s gets a clear 503, and nothing is sent', async (format, asked) => {
      const front = fronts[name] ?? expect.fail();
      const answer = await plane.call(request(format, { model: asked }));
      expect(answer.status).toBe(503);
      const message = expect.stringContaining('could not be reached');
      const id = answer.headers['x-request-id'];
      expect(answer.json()).toMatchObject(
        format === 'chat'
          ? { error: { code: 'upstream_unavailable', message, request_id: id } }
          : {
              type: 'error',
              error: { message, details: { error_code: 'upstream_unavailable' } },
              request_id: id,
            },
      );
      // Which certificate was wrong, and how, is the operator's to know.
      expect(answer.text).not.toMatch(/TLS|CERTIFICATE|sk-of/i);
      expect(front.connections).toBeGreaterThan(0);
      expect(front.received).toBe(0);
      expect(http1.requests).toEqual([]);
      expect(await plane.rowOf(answer)).toMatchObject({
        status: 503,
        errorCode: 'upstream_unavailable',
        usageSource: 'none',
      });
      await plane.idle();
    });
  });

  test('the next provider is tried where one has a wrong certificate', async () => {
    http1.always(openai.answer({ text: ['fine'] }));
    const answer = await plane.call(request('chat', { model: 'fails-over' }));
    expect(answer.status).toBe(capabilities.priorityGroups ? 200 : 503);
    expect((fronts['other-name'] ?? expect.fail()).received).toBe(0);
    http1.expectNotSent('sk-of-other-name');
  });

  test('Envoy counts why it refused', async () => {
    expect(await plane.stats('ssl.fail_verify_san')).toMatch(/fail_verify_san: [1-9]/);
    expect(await plane.stats('ssl.fail_verify_error')).toMatch(/fail_verify_error: [1-9]/);
  });
});
