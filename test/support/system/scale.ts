import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import pg from 'pg';
import { z } from 'zod';
import { get } from '../running-envoy.ts';
import { metricsSocket } from '../../../src/up/endpoints.ts';
import { readSettings } from '../../../src/config/env.ts';
import {
  modelResource,
  providerResource,
  startGateway,
  type ResourceObject,
  type TestGateway,
} from '../gateway.ts';
import { exchange, type Outcome } from './exchange.ts';

/** How much an installation has of everything. */
export interface Scale {
  readonly users: number;
  readonly keys: number;
  /** LimitPolicies: half of them for single users, a quarter for teams, the rest for models and by pattern. */
  readonly rules: number;
  readonly models: number;
  readonly providers: number;
}

const DEPARTMENTS = 50;
const TEAMS = 500;
const MAIN = join(import.meta.dirname, '../../../src/main.ts');

const metricsSchema = z.array(
  z.looseObject({ name: z.string(), values: z.array(z.looseObject({ value: z.number() })) }),
);

/** The key number `index` of `loadDirectory`; that of number 0 is bound by four rules in every installation. */
export function scaleKey(index: number): string {
  return `tw-scale-${index}`;
}

export function limitPolicy(name: string, spec: object): ResourceObject {
  return { apiVersion: 'limen.dev/v1alpha1', kind: 'LimitPolicy', metadata: { name }, spec };
}

/** The file of an installation: every model on one of the providers, all of them on one upstream. */
export function scaleResources(scale: Scale, upstreamPort: number): ResourceObject[] {
  const baseUrl = `http://127.0.0.1:${upstreamPort}/v1`;
  const price = { input: 1, output: 1 };
  const many = <Item>(count: number, make: (index: number) => Item) =>
    Array.from({ length: Math.max(1, Math.round(count)) }, (_, index) => make(index));
  const rule = { requests: 1_000_000_000, window: '1m' };
  const { rules, models, providers } = scale;
  return [
    ...many(providers, (index) =>
      providerResource(`provider-${index}`, {
        type: 'openai-compatible',
        baseUrl,
        credential: `sk-scale-${index}`,
      }),
    ),
    ...many(models, (index) =>
      modelResource(`model-${index}`, [{ provider: `provider-${index % Math.max(1, providers)}` }], {
        price,
      }),
    ),
    ...many(rules / 2, (index) =>
      limitPolicy(`user-${index}`, { per: 'user', match: { users: [userName(index)] }, ...rule }),
    ),
    ...many(rules / 4, (index) =>
      limitPolicy(`team-${index}`, { per: 'team', match: { teams: [`team-${index}`] }, ...rule }),
    ),
    ...many((rules * 3) / 20, (index) =>
      limitPolicy(`model-${index}`, {
        per: 'model',
        match: { models: [`model-${index % Math.max(1, models)}`], users: [`dept-${index}-*`] },
        ...rule,
      }),
    ),
    ...many(rules / 10, (index) =>
      limitPolicy(`pattern-${index}`, { per: 'user', match: { users: [`dept-${index}-*`] }, ...rule }),
    ),
  ];
}

function userName(index: number): string {
  return `dept-${index % DEPARTMENTS}-user-${index}`;
}

/** Writes users and keys that are not there yet into the database at once, as a change that every control plane hears of. */
export async function loadDirectory(postgresUrl: string, { users, keys }: Scale): Promise<void> {
  const client = new pg.Client({ connectionString: postgresUrl });
  await client.connect();
  try {
    await client.query('begin');
    const { rows } = await client.query<{ value: string }>(
      'insert into revision (id, value) values (1, 1) on conflict (id) do update set value = revision.value + 1 returning value',
    );
    await client.query(
      `insert into users (id, provider, claimed_email, claimed_name, claimed_groups, created_at)
       select format('dept-%s-user-%s', i % $2, i), 'idp', format('user-%s@example.com', i), format('User %s', i),
              array['everybody', format('dept-%s', i % $2), format('group-%s', i % 400)], now()
       from generate_series(0, $1::int - 1) as i on conflict do nothing`,
      [users, DEPARTMENTS],
    );
    await client.query(
      `insert into virtual_keys (id, hash, prefix, hint, "user", team, models, created_at)
       select format('key_scale%s', i), encode(sha256(convert_to('tw-scale-' || i, 'UTF8')), 'hex'), 'tw-', right(i::text, 4),
              format('dept-%s-user-%s', (i % $2) % $3, i % $2), format('team-%s', i % $4),
              case when i % 10 = 0 then array['model-*', 'probe-*'] end, now()
       from generate_series(0, $1::int - 1) as i on conflict do nothing`,
      [keys, users, DEPARTMENTS, TEAMS],
    );
    const change = { revision: Number(rows[0]?.value), entity: 'unknown' };
    await client.query('select pg_notify($1, $2)', ['limen_changes', JSON.stringify(change)]);
    await client.query('commit');
  } finally {
    await client.end();
  }
}

/** An installation with much in it, that can be started again on its data. */
export class ScaleInstallation {
  readonly gateway: TestGateway;
  scale: Scale;
  /** Of the file as it was written last. */
  config: readonly ResourceObject[];
  #child: ChildProcess | undefined;

  private constructor(gateway: TestGateway, scale: Scale, config: readonly ResourceObject[]) {
    this.gateway = gateway;
    this.scale = scale;
    this.config = config;
  }

  /** Starts it, loads it, and resolves when the last key is in force. */
  static async start(
    scale: Scale,
    upstreamPort: number,
    env: Readonly<Record<string, string>> = {},
    more: readonly ResourceObject[] = [],
  ): Promise<ScaleInstallation> {
    const config = [...scaleResources(scale, upstreamPort), ...more];
    const gateway = await startGateway({ config, env: { LIMEN_DEFAULT_LIMITS: 'off', ...env } });
    const installation = new ScaleInstallation(gateway, scale, config);
    try {
      await installation.load(scale);
      return installation;
    } catch (error) {
      await installation.stop();
      throw error;
    }
  }

  /** Adds users and keys up to those of a scale, and resolves when the last key is in force. */
  async load(scale: Scale): Promise<void> {
    await loadDirectory(this.gateway.state().endpoints.postgresUrl, scale);
    await this.until(200, scaleKey(scale.keys - 1), 60_000);
    this.scale = scale;
  }

  /** Asks a model for a small answer. */
  ask(key: string, model = 'model-0'): Promise<Outcome> {
    return exchange({
      url: this.gateway.url,
      path: '/v1/chat/completions',
      headers: { authorization: `Bearer ${key}` },
      body: JSON.stringify({ model, max_tokens: 20, messages: [{ role: 'user', content: 'Hello' }] }),
    });
  }

  /** Resolves once a request with the key has the status; the milliseconds that took. @throws after `withinMs` */
  async until(status: number, key: string, withinMs: number): Promise<number> {
    const started = performance.now();
    for (;;) {
      const outcome = await this.ask(key);
      const passed = performance.now() - started;
      if (outcome.status === status) return passed;
      if (passed > withinMs)
        throw new Error(`Status ${outcome.status} after ${withinMs} ms: ${outcome.body.slice(0, 300)}`);
      await pause(outcome.status === 0 ? 20 : 10);
    }
  }

  /** Stops everything and starts it on the same data; milliseconds from there to the first served request. */
  async restart(): Promise<number> {
    await this.#end();
    const { environment, dataFolder } = this.gateway;
    const started = performance.now();
    this.#child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', MAIN, 'up'], {
      cwd: dataFolder,
      env: environment,
      stdio: 'ignore',
    });
    try {
      await this.until(200, scaleKey(0), 60_000);
    } catch (error) {
      throw new Error(`It did not start again.\n${this.gateway.logs().slice(-6000)}`, { cause: error });
    }
    return performance.now() - started;
  }

  /** One of the figures that a worker tells of itself, by name and without labels; NaN where it tells none. */
  async workerMetric(index: number, name: string): Promise<number> {
    const settings = readSettings({ LIMEN_DATA: this.gateway.environment['LIMEN_DATA'] });
    const { body } = await get({ socketPath: metricsSocket(settings, index) }, '/metrics');
    const metric = metricsSchema.parse(JSON.parse(body)).find((one) => one.name === name);
    return metric?.values[0]?.value ?? NaN;
  }

  async stop(): Promise<void> {
    if (this.#child !== undefined) await this.#end();
    await this.gateway.stop();
  }

  async #end(): Promise<void> {
    const child = this.#child;
    if (child === undefined) {
      const { pid } = this.gateway;
      process.kill(pid, 'SIGTERM');
      while (isAlive(pid)) await pause(20);
      return;
    }
    this.#child = undefined;
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill('SIGTERM');
    await exited;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
