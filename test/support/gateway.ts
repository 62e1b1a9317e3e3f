import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createdKeySchema, type CreateKeyRequest } from '../../src/admin/contract.ts';
import { readSettings } from '../../src/config/env.ts';
import { readUpState, type UpState } from '../../src/up/up-state.ts';
import { eventually, freePort, get } from './running-envoy.ts';

const ROOT = join(import.meta.dirname, '../..');
const READY_WITHIN_MS = 90_000;
const STOP_WITHIN_MS = 60_000;

/** A resource as it would stand in limen.yaml; JSON is YAML. */
export type ResourceObject = Readonly<Record<string, unknown>>;

export interface GatewayOptions {
  /** Written to the LIMEN_CONFIG file; none: whatever the gateway does without one. */
  readonly config?: readonly ResourceObject[];
  /** More environment variables. Credentials of providers that the test machine has are not passed on. */
  readonly env?: Readonly<Record<string, string>>;
  /** How to reach a public listener that has TLS in `config`: the authority in PEM, and the certificate's name. */
  readonly tls?: { readonly ca: string; readonly servername: string };
}

/** One row of `gateway_logs`, columns by name. */
export type Row = Readonly<Record<string, unknown>>;

/**
 * The whole all-in-one in a process of its own: on free ports, with a data folder of its own, from the same entry
 * point that users start.
 */
export class TestGateway {
  /** Of the public listener, without a path. */
  readonly url: string;
  /** Of the console listener, behind which the admin API lies. */
  readonly adminUrl: string;
  readonly dataFolder: string;
  readonly configFile: string;
  /** A virtual key of user `tester` that may use every model. */
  key = '';
  readonly #child: ChildProcess;
  readonly #adminToken: string;
  readonly #environment: NodeJS.ProcessEnv;
  #output = '';

  private constructor(options: GatewayOptions, ports: { gateway: number; console: number }) {
    this.url = `${options.tls === undefined ? 'http' : 'https'}://127.0.0.1:${ports.gateway}`;
    this.adminUrl = `http://127.0.0.1:${ports.console}`;
    this.dataFolder = mkdtempSync(join(tmpdir(), 'limen-gateway-'));
    this.configFile = join(this.dataFolder, 'limen.yaml');
    this.#adminToken = randomBytes(24).toString('hex');
    if (options.config) this.writeConfig(options.config);
    const { PATH, HOME, TMPDIR, LIMEN_ENVOY } = process.env;
    this.#environment = {
      PATH,
      HOME,
      TMPDIR,
      ...(LIMEN_ENVOY ? { LIMEN_ENVOY } : {}),
      NODE_COMPILE_CACHE: join(ROOT, '.tools/cache'),
      LIMEN_DATA: join(this.dataFolder, 'data'),
      ...(options.config ? { LIMEN_CONFIG: this.configFile } : {}),
      LIMEN_GATEWAY_PORT: String(ports.gateway),
      LIMEN_GATEWAY_ADDRESS: '127.0.0.1',
      LIMEN_CONSOLE_PORT: String(ports.console),
      LIMEN_ADMIN_TOKEN: this.#adminToken,
      LIMEN_DRAIN_SECONDS: '1',
      LIMEN_DEFAULT_LIMITS: 'off',
      ...options.env,
    };
    this.#child = spawn(
      process.execPath,
      ['--disable-warning=ExperimentalWarning', join(ROOT, 'src/main.ts'), 'up'],
      // Away from the project folder, whose limen.yaml would otherwise be taken.
      { cwd: this.dataFolder, env: this.#environment, stdio: ['ignore', 'pipe', 'pipe'] },
    );
    const keep = (chunk: Buffer) => {
      this.#output = (this.#output + chunk.toString('utf8')).slice(-200_000);
    };
    this.#child.stdout?.on('data', keep);
    this.#child.stderr?.on('data', keep);
  }

  /** Resolves once the gateway says that it is ready and a key is made. */
  static async start(options: GatewayOptions = {}): Promise<TestGateway> {
    const ports = { gateway: await freePort(), console: await freePort() };
    const gateway = new TestGateway(options, ports);
    try {
      await eventually(async () => {
        if (gateway.#ended) return true;
        return (await publicStatus(options, ports.gateway, '/health/ready')) === 200 ? true : undefined;
      }, READY_WITHIN_MS);
      if (gateway.#ended) throw new Error('limen up ended.');
      gateway.key = await eventually(() => gateway.createKey({ user: 'tester' }), READY_WITHIN_MS);
      await eventually(async () => {
        const status = await publicStatus(options, ports.gateway, '/v1/models', gateway.key);
        return status === 200 ? true : undefined;
      });
      return gateway;
    } catch (error) {
      const logs = gateway.logs();
      await gateway.stop();
      throw new Error(`The gateway did not start.\n${logs.slice(-6000)}`, { cause: error });
    }
  }

  get #ended(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** Pid of the supervisor. */
  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** The environment that commands for this gateway need, the admin token among it. */
  get environment(): NodeJS.ProcessEnv {
    return this.#environment;
  }

  /** Replaces the configuration file; the gateway watches it. */
  writeConfig(config: readonly ResourceObject[]): void {
    const documents = config.map((resource) => JSON.stringify(resource, null, 2));
    writeFileSync(this.configFile, `${documents.join('\n---\n')}\n`);
  }

  /** Calls the admin API: `/keys`, `/resources/Model` … @throws on any answer but 2xx */
  async admin(method: string, path: string, body?: unknown): Promise<unknown> {
    const response = await fetch(`${this.adminUrl}/api/v1${path}`, {
      method,
      headers: { authorization: `Bearer ${this.#adminToken}`, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    const value: unknown = text === '' ? undefined : JSON.parse(text);
    return value;
  }

  /** A new virtual key. */
  async createKey(request: CreateKeyRequest): Promise<string> {
    return createdKeySchema.parse(await this.admin('POST', '/keys', request)).key;
  }

  /** Where the parts are, and the pid and state of each child. @throws where the gateway does not run */
  state(): UpState {
    const settings = readSettings({ LIMEN_DATA: this.#environment['LIMEN_DATA'] });
    const state = readUpState(settings);
    if (!state) throw new Error('The gateway does not run.');
    return state;
  }

  /** Pids by the children's names: envoy, control, processor-0 … */
  pids(): Readonly<Record<string, number>> {
    return Object.fromEntries(
      this.state().children.flatMap(({ name, pid }) => (pid === undefined ? [] : [[name, pid]])),
    );
  }

  /** Answers of a ClickHouse query. */
  async query(sql: string): Promise<readonly Row[]> {
    const url = new URL(this.state().endpoints.clickhouseUrl);
    const authorization = `Basic ${Buffer.from(`${url.username}:${url.password}`).toString('base64')}`;
    const response = await fetch(`${url.origin}/?database=${url.pathname.slice(1)}`, {
      method: 'POST',
      headers: { authorization },
      body: `${sql} FORMAT JSONEachRow`,
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`ClickHouse answered ${response.status}: ${text}`);
    const lines = text.split('\n').filter((line) => line !== '');
    return lines.map((line): Row => JSON.parse(line));
  }

  /** The ledger's rows, one a request, oldest first. They come a moment after the answer. */
  rows(): Promise<readonly Row[]> {
    return this.query('SELECT * FROM gateway_logs FINAL ORDER BY time, request_id');
  }

  /** Envoy's configuration as its admin shows it, secrets among it as far as Envoy tells them. */
  async configDump(): Promise<string> {
    const { body } = await get({ socketPath: this.state().endpoints.sockets.envoyAdmin }, '/config_dump');
    return body;
  }

  /** One of Envoy's statistics; 0 where there is none of that name. */
  async stat(name: string): Promise<number> {
    const path = `/stats?filter=^${name.replaceAll('.', '\\.')}$`;
    const { body } = await get({ socketPath: this.state().endpoints.sockets.envoyAdmin }, path);
    return Number(body.split(': ')[1] ?? 0);
  }

  /** Everything that was printed and logged so far, by all parts. */
  logs(): string {
    const folder = join(this.dataFolder, 'data/logs');
    let files: string[] = [];
    try {
      files = readdirSync(folder, { recursive: true, encoding: 'utf8' });
    } catch {
      // It ended before it made the folder.
    }
    const texts = files
      .filter((name) => name.endsWith('.log'))
      .map((name) => `--- ${name}\n${readFileSync(join(folder, name), 'utf8')}`);
    return [this.#output, ...texts].join('\n');
  }

  /** Stops every part in order and removes the data. */
  async stop(): Promise<void> {
    if (!this.#ended) {
      const exited = once(this.#child, 'exit');
      this.#child.kill('SIGTERM');
      const timer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_WITHIN_MS);
      await exited;
      clearTimeout(timer);
    }
    rmSync(this.dataFolder, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 });
  }
}

/** Status of a GET on the public listener, in clear or by TLS. */
async function publicStatus(
  { tls }: GatewayOptions,
  port: number,
  path: string,
  key?: string,
): Promise<number> {
  const headers = key === undefined ? {} : { authorization: `Bearer ${key}` };
  const at = { host: '127.0.0.1', port, path, headers, agent: false as const };
  return await new Promise((resolve, reject) => {
    const outgoing = tls === undefined ? httpRequest(at) : httpsRequest({ ...at, ...tls });
    outgoing.on('error', reject);
    outgoing.on('response', (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    outgoing.end();
  });
}

/** Starts a gateway of its own for a test file. Stop it at the end. */
export function startGateway(options: GatewayOptions = {}): Promise<TestGateway> {
  return TestGateway.start(options);
}

const API_VERSION = 'limen.dev/v1alpha1';

/** A Provider resource. `baseUrl` includes the version path: `http://127.0.0.1:9/v1`. */
export function providerResource(
  name: string,
  spec: {
    readonly type: string;
    readonly baseUrl: string;
    readonly credential?: string;
    readonly tenants?: Readonly<Record<string, object>>;
  },
): ResourceObject {
  const { credential, ...rest } = spec;
  return {
    apiVersion: API_VERSION,
    kind: 'Provider',
    metadata: { name },
    spec: { ...rest, ...(credential === undefined ? {} : { credential: { value: credential } }) },
  };
}

/** A Model resource. */
export function modelResource(
  name: string,
  targets: readonly { readonly provider: string; readonly model?: string; readonly priority?: number }[],
  more: Readonly<Record<string, unknown>> = {},
): ResourceObject {
  return { apiVersion: API_VERSION, kind: 'Model', metadata: { name }, spec: { targets, ...more } };
}

/** The Gateway resource. */
export function gatewayResource(spec: Readonly<Record<string, unknown>>): ResourceObject {
  return { apiVersion: API_VERSION, kind: 'Gateway', metadata: { name: 'default' }, spec };
}
