import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { FetchRefusedError, type ResolvedAddress } from './addresses.ts';
import { createGuardedFetch } from './guarded-fetch.ts';

const LOOPBACK = ['127.0.0.0/8'];
const get = { method: 'GET' } as const;
let servers: Server[] = [];

afterEach(() => {
  for (const server of servers) server.close().closeAllConnections();
  servers = [];
});

/** @returns its port on 127.0.0.1 */
async function serve(listener: RequestListener): Promise<number> {
  const server = createServer(listener).listen(0, '127.0.0.1');
  servers.push(server);
  await once(server, 'listening');
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

function resolvesTo(...addresses: string[]): () => Promise<readonly ResolvedAddress[]> {
  return () =>
    Promise.resolve(addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })));
}

describe('createGuardedFetch', () => {
  it('fetches from an allowed range, over http too', async () => {
    const port = await serve((request, response) => {
      request.resume().on('end', () => response.writeHead(201).end(request.headers['x-a']));
    });
    const fetchGuarded = createGuardedFetch({ allowedRanges: LOOPBACK });
    const answer = await fetchGuarded(`http://127.0.0.1:${port}/`, {
      method: 'POST',
      headers: { 'x-a': 'b' },
      body: 'grüße',
    });
    expect([answer.status, answer.body.toString()]).toEqual([201, 'b']);
  });

  it.each([
    'https://127.0.0.1/',
    'https://[::1]/',
    'https://[::ffff:127.0.0.1]/',
    'https://2130706433/',
    'https://0x7f.1/',
    'https://10.0.0.1/',
    'https://100.64.0.1/',
    'https://169.254.169.254/latest/meta-data',
    'https://[fd00:ec2::254]/',
    'https://0.0.0.0/',
    'https://224.0.0.1/',
    'https://localhost/',
  ])('refuses %s', async (url) => {
    const fetchGuarded = createGuardedFetch({ allowedRanges: [] });
    await expect(fetchGuarded(url, get)).rejects.toThrow(FetchRefusedError);
  });

  it('reaches nobody on a port of this machine unless it is allowed', async () => {
    const hit = vi.fn<RequestListener>((_, response) => response.end());
    const port = await serve(hit);
    await expect(createGuardedFetch({ allowedRanges: [] })(`http://127.0.0.1:${port}/`, get)).rejects.toThrow(
      'is not a public address',
    );
    await expect(
      createGuardedFetch({ allowedRanges: ['10.0.0.0/8'] })(`http://127.0.0.1:${port}/`, get),
    ).rejects.toThrow(FetchRefusedError);
    expect(hit).not.toHaveBeenCalled();
  });

  it.each([['127.0.0.1'], ['8.8.8.8', '127.0.0.1'], ['::ffff:127.0.0.1'], ['64:ff9b::7f00:1'], []])(
    'refuses a name that leads to %s',
    async (...addresses) => {
      const fetchGuarded = createGuardedFetch({ allowedRanges: [], resolve: resolvesTo(...addresses) });
      await expect(fetchGuarded('https://token.example/', get)).rejects.toThrow(FetchRefusedError);
    },
  );

  it('asks the name server once, and connects to what was checked', async () => {
    const port = await serve((_, response) => response.end('checked'));
    const answers = ['127.0.0.1', '127.0.0.2'];
    const resolve = vi.fn<() => Promise<readonly ResolvedAddress[]>>(() =>
      resolvesTo(answers.shift() ?? '')(),
    );
    const fetchGuarded = createGuardedFetch({ allowedRanges: ['127.0.0.1/32'], resolve });
    const answer = await fetchGuarded(`http://rebinding.example:${port}/`, get);
    expect(answer.body.toString()).toBe('checked');
    expect(resolve).toHaveBeenCalledTimes(1);
  });

  it('asks public addresses over https only', async () => {
    const fetchGuarded = createGuardedFetch({ allowedRanges: LOOPBACK, resolve: resolvesTo('8.8.8.8') });
    await expect(fetchGuarded('http://token.example/', get)).rejects.toThrow('over https');
  });

  it.each(['file:///etc/passwd', 'ftp://8.8.8.8/', 'nonsense', 'https://user:secret@8.8.8.8/'])(
    'refuses %s',
    async (url) => {
      await expect(createGuardedFetch({ allowedRanges: LOOPBACK })(url, get)).rejects.toThrow(
        FetchRefusedError,
      );
    },
  );

  it('does not follow a redirect', async () => {
    const hit = vi.fn<RequestListener>((_, response) => response.end('reached'));
    const inside = await serve(hit);
    const port = await serve((_, response) =>
      response.writeHead(302, { location: `http://127.0.0.1:${inside}/` }).end(),
    );
    const answer = await createGuardedFetch({ allowedRanges: LOOPBACK })(`http://127.0.0.1:${port}/`, get);
    expect(answer.status).toBe(302);
    expect(hit).not.toHaveBeenCalled();
  });

  it('bounds the size of an answer and the time that it takes', async () => {
    const large = await serve((_, response) => response.end('x'.repeat(5000)));
    const stuck = await serve((_, response) => response.writeHead(200).write('a'));
    const fetchGuarded = createGuardedFetch({ allowedRanges: LOOPBACK });
    await expect(fetchGuarded(`http://127.0.0.1:${large}/`, { ...get, maxBytes: 4999 })).rejects.toThrow(
      'larger than 4999 bytes',
    );
    await expect(fetchGuarded(`http://127.0.0.1:${stuck}/`, { ...get, timeoutMs: 50 })).rejects.toThrow();
    const never = createGuardedFetch({ allowedRanges: [], resolve: () => new Promise(() => undefined) });
    await expect(never('https://slow.example/', { ...get, timeoutMs: 50 })).rejects.toThrow('timeout');
  });
});
