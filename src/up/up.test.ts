import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createServer, get, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readSettings, type Settings } from '../config/env.ts';
import { freePort } from '../../test/support/running-envoy.ts';
import { isRunning, identify } from './process-identity.ts';
import { readUpState } from './up-state.ts';

const root = resolve(import.meta.dirname, '../..');

let folder: string;
let settings: Settings;
let upstream: Server;
let bootstrap: string;
const started: ChildProcessWithoutNullStreams[] = [];

/** A static Envoy: what comes in on the gateway's port goes to the test's own server. */
function bootstrapFor(gatewayPort: number, upstreamPort: number): string {
  const address = (port: number) => ({ socket_address: { address: '127.0.0.1', port_value: port } });
  const type = (name: string) => `type.googleapis.com/envoy.extensions.filters.${name}`;
  const manager = {
    '@type': type('network.http_connection_manager.v3.HttpConnectionManager'),
    stat_prefix: 'gateway',
    route_config: {
      virtual_hosts: [
        {
          name: 'all',
          domains: ['*'],
          routes: [{ match: { prefix: '/' }, route: { cluster: 'upstream', timeout: '0s' } }],
        },
      ],
    },
    http_filters: [{ name: 'router', typed_config: { '@type': type('http.router.v3.Router') } }],
  };
  const filters = [{ name: 'http', typed_config: manager }];
  const endpoints = [{ lb_endpoints: [{ endpoint: { address: address(upstreamPort) } }] }];
  return JSON.stringify({
    admin: { address: { pipe: { path: 'ADMIN_SOCKET', mode: 0o600 } } },
    static_resources: {
      listeners: [{ name: 'gateway', address: address(gatewayPort), filter_chains: [{ filters }] }],
      clusters: [{ name: 'upstream', load_assignment: { cluster_name: 'upstream', endpoints } }],
    },
  });
}

function portOf(server: Server): number {
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'limen-up-'));
  upstream = createServer((request, response) => {
    response.write('begin ');
    if (request.url === '/slow') setTimeout(() => response.end('end'), 600);
    else response.end('end');
  }).listen(0, '127.0.0.1');
  await once(upstream, 'listening');
  const [gatewayPort, consolePort] = [await freePort(), await freePort()];
  settings = readSettings(
    {},
    {
      data: join(folder, 'data'),
      gatewayPort: String(gatewayPort),
      consolePort: String(consolePort),
      workers: '1',
    },
  );
  bootstrap = bootstrapFor(gatewayPort, portOf(upstream));
});

afterEach(async () => {
  for (const child of started.splice(0)) {
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  }
  await expect.poll(leftovers, { timeout: 15_000 }).toEqual([]);
  upstream.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Names of supervised children that still run, by the pid files that only a clean stop or a watchdog removes. */
function leftovers(): string[] {
  try {
    return readdirSync(join(settings.data, 'pids'), { recursive: true, encoding: 'utf8' }).filter((file) =>
      file.endsWith('.pid'),
    );
  } catch {
    return [];
  }
}

interface Run {
  readonly child: ChildProcessWithoutNullStreams;
  readonly exited: Promise<unknown[]>;
  output(): string;
}

function start(): Run {
  const { data, gatewayPort, consolePort } = settings;
  const script = join(import.meta.dirname, '__fixtures__/up.ts');
  const child = spawn(process.execPath, [
    script,
    root,
    data,
    String(gatewayPort),
    String(consolePort),
    bootstrap,
  ]);
  started.push(child);
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
  return { child, exited: once(child, 'exit'), output: () => output };
}

async function startedUp(run: Run): Promise<void> {
  await expect.poll(() => run.output(), { timeout: 60_000, interval: 20 }).toContain('STARTED');
}

function fetchText(path: string): Promise<string> {
  return new Promise((resolveText, reject) => {
    get({ port: settings.gatewayPort, path, agent: false }, (response) => {
      let text = '';
      response.on('data', (chunk: Buffer) => (text += chunk.toString()));
      response.once('end', () => resolveText(text));
      response.once('error', reject);
    }).once('error', reject);
  });
}

function pids(): number[] {
  return (readUpState(settings)?.children ?? []).flatMap(({ pid }) => pid ?? []);
}

describe('limen up', { timeout: 120_000 }, () => {
  it('starts all parts, tells them where the others are, and stops without leaving any', async () => {
    const run = start();
    await startedUp(run);
    const state = readUpState(settings);
    expect(state?.children.map((child) => `${child.name} ${child.state}`)).toEqual([
      'redis ready',
      'postgres ready',
      'clickhouse ready',
      'control ready',
      'processor-0 ready',
      'envoy ready',
    ]);
    for (const name of ['redis', 'postgres', 'control', 'envoy'])
      expect(run.output()).toMatch(new RegExp(`✓ ${name} +\\d+\\.\\d s`));
    expect(run.output()).toContain('control | warn: control speaks');
    const log = readFileSync(join(settings.data, 'logs/control.log'), 'utf8');
    expect(log).toContain(`LIMEN_REDIS_URL=${state?.endpoints.redisUrl}`);
    expect(log).toContain(`LIMEN_CLICKHOUSE_URL=${state?.endpoints.clickhouseUrl}`);
    const key = /LIMEN_ENCRYPTION_KEY=([0-9a-f]{64})$/m.exec(log)?.[1] ?? '';
    expect(key).toHaveLength(64);
    const worker = readFileSync(join(settings.data, 'logs/processor-0.log'), 'utf8');
    expect(worker).not.toContain(key);
    expect(worker).toContain(`LIMEN_REASONING_KEY=made of ${key.slice(0, 8)}`);
    expect(await fetchText('/')).toBe('begin end');
    expect(statSync(join(settings.data, 'logs')).mode & 0o077).toBe(0);
    expect(statSync(settings.data).mode & 0o066).toBe(0);

    const all = pids().map(identify);
    run.child.kill('SIGINT');
    expect(await run.exited).toEqual([0, null]);
    expect(all.filter((identity) => identity && isRunning(identity))).toEqual([]);
    expect(readUpState(settings)).toBeUndefined();
    expect(leftovers()).toEqual([]);
  });

  it('lets a request in flight finish when it is stopped', async () => {
    const run = start();
    await startedUp(run);
    const answer = fetchText('/slow');
    await once(upstream, 'request');
    run.child.kill('SIGTERM');
    expect(await answer).toBe('begin end');
    expect(await run.exited).toEqual([0, null]);
  });

  it('leaves nothing behind that blocks the next start when it is killed', async () => {
    const first = start();
    await startedUp(first);
    const before = pids();
    expect(before).toHaveLength(6);
    first.child.kill('SIGKILL');
    await first.exited;
    // At once: whichever of watchdog and sweep comes first, the second start must come up.
    const second = start();
    await startedUp(second);
    expect(pids().filter((pid) => before.includes(pid))).toEqual([]);
    expect(await fetchText('/')).toBe('begin end');
    second.child.kill('SIGTERM');
    expect(await second.exited).toEqual([0, null]);
  });

  it('cleans up after a killed supervisor also where no next start comes', async () => {
    const run = start();
    await startedUp(run);
    const all = pids().map(identify);
    run.child.kill('SIGKILL');
    await expect
      .poll(() => all.filter((identity) => identity && isRunning(identity)), { timeout: 15_000 })
      .toEqual([]);
  });

  it('refuses a second instance on the same data, and another on the same port, in one line', async () => {
    const run = start();
    await startedUp(run);
    const second = start();
    expect(await second.exited).toEqual([1, null]);
    expect(second.output().trim()).toBe(
      `error: Limen already runs on the data folder ${settings.data} (process ${run.child.pid}): stop it, or use another folder with LIMEN_DATA (--data).`,
    );
    settings = { ...settings, data: join(folder, 'other') };
    const third = start();
    expect(await third.exited).toEqual([1, null]);
    expect(third.output()).toMatch(
      /^error: Port \d+ is taken by process \d+ \(.*envoy.*\): stop that, or set LIMEN_GATEWAY_PORT \(--gateway-port\) to another one\.\n$/,
    );
    settings = { ...settings, data: join(folder, 'data') };
    run.child.kill('SIGTERM');
    await run.exited;
  });

  it('stops cleanly while it is still starting', async () => {
    const run = start();
    await expect.poll(() => readdirSync(folder), { timeout: 30_000, interval: 5 }).toContain('data');
    run.child.kill('SIGINT');
    const [status] = await run.exited;
    expect(status === 130 || status === 0 || status === null).toBe(true);
    expect(leftovers()).toEqual([]);
  });
});
