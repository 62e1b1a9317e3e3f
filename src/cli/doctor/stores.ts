import { connect } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { probePostgres } from '../../store/postgres/probe.ts';
import { off, ok, problem, reason, type Check } from './check.ts';

const PROBE_TIMEOUT_MS = 3_000;

/** Asks each store for its version, as this machine reaches it. */
export function checkStores(
  urls: {
    readonly redis?: string | undefined;
    readonly postgres?: string | undefined;
    readonly clickhouse?: string | undefined;
  },
  variables: { readonly redis: string; readonly postgres: string; readonly clickhouse: string },
): Promise<Check[]> {
  const check = async (
    name: string,
    url: string | undefined,
    variable: string,
    probe: (url: string) => Promise<string>,
  ) => {
    if (url === undefined) return off(name, 'embedded; runs with the gateway');
    try {
      return ok(name, await probe(url));
    } catch (error) {
      return problem(
        name,
        `does not answer (${reason(error)})`,
        `is it running? ${variable} says where it is`,
      );
    }
  };
  return Promise.all([
    check('redis', urls.redis, variables.redis, probeRedis),
    check('postgres', urls.postgres, variables.postgres, probePostgres),
    check('clickhouse', urls.clickhouse, variables.clickhouse, probeClickhouse),
  ]);
}

/** One command of the Redis protocol (RESP2): an array of bulk strings. */
function command(...words: string[]): string {
  return `*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join('')}`;
}

function redisSocket(url: string) {
  if (url.startsWith('/')) return { socket: connect(url), login: '' };
  // Of a cluster one node is asked: it knows the others.
  const { protocol, hostname, port, username, password } = new URL(
    url.replace('+cluster://', '://').replace(/,.*$/, ''),
  );
  const address = { host: hostname.replace(/^\[(.*)\]$/, '$1'), port: Number(port || 6379) };
  const words = [decodeURIComponent(username), decodeURIComponent(password)].filter((word) => word !== '');
  return {
    socket: protocol === 'rediss:' ? connectTls({ ...address, servername: address.host }) : connect(address),
    login: words.length > 0 ? command('AUTH', ...words) : '',
  };
}

/** Version from INFO; a dozen bytes of protocol are simpler than a client that reconnects by itself. */
function probeRedis(url: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const { socket, login } = redisSocket(url);
    let answer = '';
    const fail = (error: Error) => {
      socket.destroy();
      reject(error);
    };
    socket.setTimeout(PROBE_TIMEOUT_MS, () => fail(new Error('no answer')));
    socket.once('error', fail);
    socket.once('close', () => reject(new Error('connection closed')));
    socket.write(`${login}${command('INFO', 'server')}`);
    socket.on('data', (bytes: Buffer) => {
      answer += bytes.toString('latin1');
      const refused = /^-(\w+)/m.exec(answer)?.[1];
      if (refused) fail(new Error(refused));
      const version = /^(?:valkey|redis)_version:(\S+)/m.exec(answer)?.[1];
      if (version) {
        resolve(version);
        socket.destroy();
      }
    });
  });
}

async function probeClickhouse(url: string): Promise<string> {
  const target = new URL(url);
  const headers = new Headers();
  if (target.username !== '') {
    const user = `${decodeURIComponent(target.username)}:${decodeURIComponent(target.password)}`;
    headers.set('authorization', `Basic ${Buffer.from(user).toString('base64')}`);
  }
  const signal = AbortSignal.timeout(PROBE_TIMEOUT_MS);
  const response = await fetch(target.origin, { method: 'POST', body: 'SELECT version()', headers, signal });
  if (!response.ok) throw new Error(`status ${response.status}`);
  return (await response.text()).trim();
}
