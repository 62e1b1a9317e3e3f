import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Command } from 'commander';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startAdmin, type TestAdmin } from '../../test/support/admin.ts';
import { startPostgres, type TestPostgres } from '../../test/support/postgres.ts';
import type { IdentityProviderStatus } from '../admin/contract.ts';
import { processEnvironment, readSettings } from '../config/env.ts';
import type { LimitUsage } from '../core/limits.ts';
import { freePort } from '../../test/support/running-envoy.ts';
import { parseExpiry } from './duration.ts';
import type { CliContext } from './context.ts';
import { formatFields, formatTable } from './table.ts';
import { registerAdminCommands } from './index.ts';

let server: TestPostgres;
let postgresUrl: string;
let admin: TestAdmin;
let folder: string;

beforeAll(async () => {
  server = await startPostgres();
  return () => server.stop();
});

beforeEach(async () => {
  postgresUrl = await server.createDatabase();
  admin = await startAdmin(postgresUrl);
  folder = mkdtempSync(join(tmpdir(), 'limen-cli-'));
});

afterEach(async () => {
  await admin.close();
  rmSync(folder, { recursive: true, force: true });
});

/** What the last command wrote, also where it threw. */
let written: { readonly out: string[]; readonly err: string[] };

interface Outcome {
  readonly out: string;
  readonly err: string;
  readonly code: number;
}

/** Runs a command as `limen ARGS` would, against the test's admin API unless the environment says otherwise. */
async function limen(
  args: readonly string[],
  more: { environment?: Record<string, string>; stdin?: string } = {},
): Promise<Outcome> {
  const environment = more.environment ?? { LIMEN_ADMIN_URL: admin.url, LIMEN_ADMIN_TOKEN: admin.token };
  const lines: { out: string[]; err: string[] } = { out: [], err: [] };
  written = lines;
  let code = 0;
  const context: CliContext = {
    settings: () => readSettings({ LIMEN_DATA: join(folder, 'data'), ...environment }),
    environment: { PATH: processEnvironment()['PATH'], ...environment },
    root: resolve(import.meta.dirname, '../..'),
    out: (text) => lines.out.push(text),
    err: (text) => lines.err.push(text),
    stdin: () => Promise.resolve(more.stdin ?? ''),
    setExitCode: (wanted) => (code = wanted),
  };
  const program = new Command('limen').exitOverride().configureOutput({
    writeOut: (text) => lines.out.push(text),
    writeErr: (text) => lines.err.push(text),
  });
  registerAdminCommands(program, context);
  for (const command of program.commands.flatMap((one) => [one, ...one.commands]))
    command.copyInheritedSettings(program);
  await program.parseAsync(args, { from: 'user' });
  return { out: lines.out.join('\n'), err: lines.err.join('\n'), code };
}

const PROVIDER = `apiVersion: limen.dev/v1alpha1
kind: Provider
metadata: {name: openai}
spec: {type: openai, credential: {value: sk-very-secret}}
`;
const MODEL = `apiVersion: limen.dev/v1alpha1
kind: Model
metadata: {name: fast}
spec:
  targets: [{provider: openai, model: gpt-4o-mini}]
  price: {input: 0.15, output: 0.6}
`;

function write(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

describe('limen keys', () => {
  it('creates, lists and revokes', async () => {
    const created = await limen([
      'keys',
      'create',
      '--user',
      'ada',
      '--team',
      'core',
      '--models',
      'demo, demo-claude',
      '--expires',
      '30d',
    ]);
    expect(created.code).toBe(0);
    expect(created.out).toMatch(/^tw-[\w-]{43}$/);
    expect(created.err).toMatch(/^key_\w+ of ada, ends \d{4}-\d\d-\d\d \d\d:\d\d UTC. Copy the key now/);
    const id = created.err.split(' ')[0] ?? '';
    const list = await limen(['keys', 'list']);
    const [head, row] = list.out.split('\n');
    expect(head).toMatch(/^ID +USER +TEAM +KEY +MODELS +STATUS +CREATED +USED +EXPIRES$/);
    expect(row).toContain(`${id}  ada   core  tw-…${created.out.slice(-4)}  demo,demo-claude  active`);
    expect(list.out).not.toContain(created.out);
    expect(await limen(['keys', 'revoke', id])).toMatchObject({ out: `${id} of ada is revoked.`, code: 0 });
    expect((await limen(['keys', 'list'])).out).toContain('revoked');
  });

  it('shows, rotates, deletes and restores', async () => {
    const created = JSON.parse(
      (
        await limen([
          'keys',
          'create',
          '--user',
          'ada',
          '--name',
          'Nightly build',
          '--labels',
          'tier=one, cost=low',
          '--surfaces',
          'model,mcp',
          '--tools',
          'github__*',
          '--inactive',
          '90',
          '--json',
        ])
      ).out,
    );
    const shown = await limen(['keys', 'show', created.id]);
    for (const line of [
      /^name: +Nightly build$/m,
      /^labels: +cost=low, tier=one$/m,
      /^surfaces: +model, mcp$/m,
      /^tools: +github__\*$/m,
      /^revoked when unused: +for 90 days$/m,
    ]) {
      expect(shown.out).toMatch(line);
    }
    const changed = await limen([
      'keys',
      'set',
      created.id,
      '--surfaces',
      '',
      '--inactive',
      '',
      '--expires',
      '30d',
      '--models',
      'demo',
    ]);
    expect(changed.out).toMatch(/^surfaces: +all but admin$/m);
    expect(changed.out).toMatch(/^models: +demo$/m);
    expect(changed.out).toMatch(/^expires: +\d{4}-/m);
    expect(changed.out).toMatch(/^tools: +github__\*$/m);
    expect(changed.out).not.toContain('unused');
    expect(await limen(['keys', 'set', created.id])).toMatchObject({ code: 2 });
    const rotated = await limen(['keys', 'rotate', created.id, '--grace', '2h']);
    expect(rotated.out).toMatch(/^tw-[\w-]{43}$/);
    expect(rotated.out).not.toBe(created.key);
    expect(rotated.err).toMatch(/^key_\w+ of ada, the secret before is good until \d{4}/);
    expect((await limen(['keys', 'rotate', created.id, '--grace', '0m'])).err).toContain(
      'the secret before is refused from now on',
    );
    expect((await limen(['keys', 'delete', created.id])).out).toContain(`limen keys restore ${created.id}`);
    expect((await limen(['keys', 'list'])).out).not.toContain(created.id);
    expect((await limen(['keys', 'list', '--deleted'])).out).toContain('deleted');
    expect(await limen(['keys', 'rotate', created.id])).toMatchObject({
      err: `error: ${created.id} is no longer in force: make a new key.`,
      code: 1,
    });
    expect((await limen(['keys', 'restore', created.id])).out).toBe(`${created.id} of ada is back: active.`);
    expect((await limen(['keys', 'list', '--search', 'NIGHTLY'])).out).toContain(created.id);
    expect((await limen(['keys', 'list', '--user', 'bob'])).err).toContain('no such keys');
  });

  it('prints JSON for scripts', async () => {
    const created = JSON.parse((await limen(['keys', 'create', '--user', 'ada', '--json'])).out);
    expect(created).toMatchObject({ user: 'ada', key: expect.stringMatching(/^tw-/) });
    const list = JSON.parse((await limen(['keys', 'list', '--json'])).out);
    expect(list).toEqual([expect.objectContaining({ id: created.id })]);
    expect(JSON.parse((await limen(['keys', 'revoke', created.id, '--json'])).out)).toMatchObject({
      status: 'revoked',
    });
  });

  it('says what is wrong', async () => {
    expect(await limen(['keys', 'list'])).toMatchObject({
      err: 'There are no keys yet: limen keys create --user NAME',
      code: 0,
    });
    expect(await limen(['keys', 'revoke', 'key_nothing'])).toMatchObject({
      err: 'error: There is no key "key_nothing".',
      code: 1,
    });
    expect(await limen(['keys', 'create', '--user', 'ada', '--expires', 'soon'])).toMatchObject({
      err: expect.stringContaining('30d'),
      code: 2,
    });
    for (const wrong of [
      ['--inactive', 'long'],
      ['--labels', 'tier'],
    ]) {
      expect(await limen(['keys', 'create', '--user', 'ada', ...wrong])).toMatchObject({ code: 2 });
    }
    expect(await limen(['keys', 'rotate', 'key_nothing', '--grace', 'soon'])).toMatchObject({
      err: expect.stringContaining('24h'),
      code: 2,
    });
    expect(await limen(['keys', 'create', '--user', 'ada', '--models', 'nothing'])).toMatchObject({
      err: expect.stringContaining('warning: No model at present is nothing.'),
      code: 0,
    });
    await expect(limen(['keys', 'create'])).rejects.toThrow(/required option '--user <name>'/);
  });

  it('are explained with examples', async () => {
    for (const args of [
      ['keys', 'create'],
      ['keys', 'list'],
      ['keys', 'show'],
      ['keys', 'set'],
      ['keys', 'rotate'],
      ['keys', 'revoke'],
      ['keys', 'delete'],
      ['keys', 'restore'],
      ['users', 'list'],
      ['users', 'show'],
      ['users', 'set'],
      ['users', 'disable'],
      ['users', 'enable'],
      ['apply'],
      ['get'],
      ['doctor'],
    ]) {
      const help = await limen([...args, '--help']).catch((error: unknown) => error);
      expect(help).toMatchObject({ code: 'commander.helpDisplayed' });
      expect(written.out.join('\n')).toMatch(/Examples?:\n +limen /);
    }
  });
});

describe('limen users', () => {
  it('sets, lists, shows, disables and enables', async () => {
    expect(await limen(['users', 'list'])).toMatchObject({
      err: expect.stringContaining('There are no users yet'),
      code: 0,
    });
    const set = await limen([
      'users',
      'set',
      'corp:ada',
      '--email',
      'ada@example.com',
      '--groups',
      'pilots, oncall',
      '--team',
      'core',
    ]);
    expect(set.out).toMatch(/^groups set here: +pilots, oncall$/m);
    const list = (await limen(['users', 'list'])).out.split('\n');
    expect(list[0]).toMatch(/^ID +EMAIL +GROUPS +ROLES +TEAM +STATE +LAST SEEN$/);
    expect(list[1]).toBe('corp:ada  ada@example.com  pilots,oncall  -      core  active  -');
    expect(await limen(['users', 'disable', 'corp:ada'])).toMatchObject({ out: 'corp:ada is disabled.' });
    expect((await limen(['users', 'list', '--disabled'])).out).toContain('disabled');
    expect((await limen(['users', 'show', 'corp:ada'])).out).toMatch(/^state: +disabled$/m);
    expect(await limen(['users', 'enable', 'corp:ada'])).toMatchObject({ out: 'corp:ada is enabled.' });
    expect(
      JSON.parse((await limen(['users', 'set', 'corp:ada', '--groups', '', '--team', '', '--json'])).out),
    ).toEqual(expect.objectContaining({ groups: [], disabled: false }));
    expect((await limen(['users', 'list', '--search', 'bob'])).err).toContain('no such users');
  });

  it('says what is wrong', async () => {
    expect(await limen(['users', 'show', 'nobody'])).toMatchObject({
      err: 'error: There is no user "nobody".',
      code: 1,
    });
    expect(await limen(['users', 'set', 'ada'])).toMatchObject({ code: 2 });
    expect(await limen(['users', 'set', 'ada', '--email', 'none'])).toMatchObject({
      err: expect.stringContaining('email'),
      code: 1,
    });
  });
});

describe('limen apply', () => {
  it('applies files, folders and standard input', async () => {
    mkdirSync(join(folder, 'config'));
    write('config/a.yaml', PROVIDER);
    write('config/b.yaml', MODEL);
    expect(await limen(['apply', '-f', join(folder, 'config'), '--dry-run'])).toMatchObject({
      out: 'Provider/openai would be created\nModel/fast would be created',
      code: 0,
    });
    expect(await limen(['apply', '-f', join(folder, 'config')])).toMatchObject({
      out: 'Provider/openai created\nModel/fast created',
      code: 0,
    });
    const changed = await limen(['apply', '-f', '-'], { stdin: MODEL.replace('input: 0.15', 'input: 0.2') });
    expect(changed.out).toBe('Model/fast changed\n  spec.price.input: 0.15 → 0.2');
    expect((await limen(['apply', '-f', write('p.yaml', PROVIDER)])).out).toBe('Provider/openai unchanged');
    const secret = await limen(['apply', '-f', '-', '--json'], {
      stdin: PROVIDER.replace('very-secret', 'new-secret'),
    });
    expect(JSON.parse(secret.out).changes[0].fields).toEqual([
      { path: 'spec.credential.value', before: '(hidden)', after: '(hidden)' },
    ]);
  });

  it('names file, line and column of what is wrong, whoever finds it', async () => {
    const bad = write('bad.yaml', `${PROVIDER}---\n${MODEL.replace('input: 0.15', 'input: -1')}`);
    expect(await limen(['apply', '-f', bad])).toMatchObject({
      err: `error: One thing is wrong, and nothing was changed:\n  ${bad}:11:18 spec.price.input: -1 is not allowed; at least 0`,
      code: 1,
    });
    const lost = write('lost.yaml', `# a model\n${MODEL}`);
    expect(await limen(['apply', '-f', lost])).toMatchObject({
      err: expect.stringContaining(`${lost}:6:24 spec.targets[0].provider: "openai" is no Provider`),
      code: 1,
    });
    expect(await limen(['apply', '-f', join(folder, 'absent.yaml')])).toMatchObject({ code: 2 });
    expect(await limen(['apply', '-f', '-'], { stdin: '# nothing\n' })).toMatchObject({ code: 1 });
  });

  it('leaves to the file what the file declares', async () => {
    admin.setFile(PROVIDER);
    expect(await limen(['apply', '-f', '-'], { stdin: PROVIDER })).toMatchObject({
      err: 'error: Provider/openai is declared at limen.yaml:1: change it there.',
      code: 1,
    });
  });
});

describe('limen get', () => {
  it('shows resources as tables, YAML and JSON, without secrets', async () => {
    await limen(['apply', '-f', '-'], { stdin: `${PROVIDER}---\n${MODEL}` });
    expect((await limen(['get'])).out).toBe(
      'KIND      NAME    SOURCE\nModel     fast    database\nProvider  openai  database',
    );
    expect((await limen(['get', 'models'])).out).toBe(
      'NAME  TARGETS             ALIASES  USD PER MILLION IN/OUT  SOURCE\nfast  openai/gpt-4o-mini  -        0.15 / 0.6              database',
    );
    expect((await limen(['get', 'provider', 'openai'])).out).toContain(
      'openai  openai  -         sealed      closed   database',
    );
    const yaml = await limen(['get', 'provider', 'openai', '-o', 'yaml']);
    expect(yaml.out).toContain('value: (hidden)');
    expect(await limen(['apply', '-f', '-'], { stdin: yaml.out })).toMatchObject({
      out: 'Provider/openai unchanged',
    });
    expect(JSON.parse((await limen(['get', '-o', 'json'])).out)).toHaveLength(2);
    expect((await limen(['get', '-o', 'yaml'])).out.split('---')).toHaveLength(2);
    expect(await limen(['get', 'model', 'fats'])).toMatchObject({
      err: 'error: There is no Model/fats; did you mean fast?',
      code: 1,
    });
    expect(await limen(['get', 'apikeys'])).toMatchObject({ err: 'error: There are no apikeys.', code: 1 });
  });

  it('shows the keys of identity providers', async () => {
    const entry = PROVIDER.replace('kind: Provider', 'kind: IdentityProvider')
      .replace('name: openai', 'name: corp')
      .replace(/spec: .*/s, 'spec: {issuer: "https://id.example.com", audiences: [limen, mcp]}\n');
    await limen(['apply', '-f', write('corp.yaml', entry)]);
    admin.status = {
      ...admin.status,
      identityProviders: () => [
        issuer('corp', {
          reachable: false,
          keys: [{ kty: 'EC', kid: 'a-very-long-name-of-a-key', alg: 'ES256' }],
          problem: 'id.example.com answered 503.',
          clientPromotion: PROMOTION,
        }),
      ],
    };
    expect((await limen(['get', 'identityproviders'])).out).toMatch(
      /corp +https:\/\/id\.example\.com +limen,mcp +ES256 a-very-long-…: id\.example\.com answered 503\. +database/,
    );
    const json: unknown = JSON.parse((await limen(['get', 'identityprovider', 'corp', '-o', 'json'])).out);
    expect(json).toMatchObject({
      status: { issuer: { reachable: false, clientPromotion: PROMOTION } },
    });
  });

  it('shows how the circuits of the providers stand', async () => {
    await limen(['apply', '-f', '-'], { stdin: PROVIDER });
    const circuit = { provider: 'openai', state: 'open', failures: 5, retryInSeconds: 12 } as const;
    const was = admin.status;
    admin.status = { ...was, circuits: () => Promise.resolve([circuit]) };
    expect((await limen(['get', 'providers'])).out).toContain(
      'sealed      open for 12 s (5 failed)  database',
    );
    const json: unknown = JSON.parse((await limen(['get', 'providers', '-o', 'json'])).out);
    expect(json).toMatchObject([
      { kind: 'Provider', status: { circuit: { state: 'open', failures: 5, retryInSeconds: 12 } } },
    ]);
    expect((await limen(['get', 'provider', 'openai', '-o', 'yaml'])).out).not.toContain('circuit');
    admin.status = { ...was, circuits: () => Promise.reject(new Error('Redis is away')) };
    expect((await limen(['get', 'provider', 'openai'])).out).toContain('sealed      -        database');
    admin.status = was;
  });

  it('shows workers and nodes', async () => {
    admin.status = {
      ...admin.status,
      envoys: () => [
        {
          node: 'envoy-1',
          protocol: 'delta',
          connectedAt: 0,
          kinds: {
            clusters: { state: 'acknowledged', acknowledgedVersion: 'abc', publishedVersion: 'abc' },
            listeners: {
              state: 'refused',
              acknowledgedVersion: '',
              publishedVersion: 'def',
              lastNack: { message: 'bad address', at: 0, version: 'def' },
            },
          },
        },
      ],
    };
    expect((await limen(['get', 'workers'])).out).toBe(
      'WORKER       SNAPSHOT          STATE       CONNECTED\nprocessor-0  0123456789abcdef  up to date  2026-01-01 00:00',
    );
    expect((await limen(['get', 'nodes'])).out).toBe(
      'NODE     KIND       STATE         VERSION  REFUSED BECAUSE\nenvoy-1  clusters   acknowledged  abc      -\nenvoy-1  listeners  refused       -        bad address',
    );
  });
});

describe('every command', () => {
  it('says in one line that the gateway does not run', async () => {
    const port = await freePort();
    const outcome = await limen(['keys', 'list'], { environment: { LIMEN_CONSOLE_PORT: String(port) } });
    expect(outcome).toMatchObject({ out: '', code: 1 });
    expect(outcome.err).toBe(
      `error: Limen is not running at http://127.0.0.1:${port}: start it with \`npm start\`, or set LIMEN_ADMIN_URL (or LIMEN_CONSOLE_PORT, LIMEN_DATA) for another one.`,
    );
  });

  it('says what is wrong with the token, the address or a setting', async () => {
    const token = 'another-token-0123456789-abcdefghij';
    expect(
      await limen(['get'], { environment: { LIMEN_ADMIN_URL: admin.url, LIMEN_ADMIN_TOKEN: token } }),
    ).toMatchObject({
      err: expect.stringContaining('The admin token was refused'),
      code: 1,
    });
    expect(await limen(['get'], { environment: { LIMEN_ADMIN_URL: admin.url } })).toMatchObject({
      err: expect.stringContaining('There is no admin token'),
      code: 1,
    });
    expect(await limen(['get'], { environment: { LIMEN_CONSOLE_PORT: 'many' } })).toMatchObject({
      err: expect.stringContaining('LIMEN_CONSOLE_PORT'),
      code: 2,
    });
    const other = createServer((_, response) => response.end('hello')).listen(0, '127.0.0.1');
    await once(other, 'listening');
    const address = other.address();
    const url = `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`;
    expect(await limen(['get'], { environment: { LIMEN_ADMIN_URL: url } })).toMatchObject({
      err: expect.stringContaining('is this the right address?'),
      code: 1,
    });
    other.close();
  });
});

const PROMOTION = {
  ready: true,
  deliveredAt: Date.UTC(2027, 0, 31),
  waiting: 1,
  promoted: 2,
  refused: 3,
  failed: 4,
};

/** How an identity provider stands. */
function issuer(name: string, more: Partial<IdentityProviderStatus>): IdentityProviderStatus {
  return { name, issuer: `https://${name}.example.com`, source: 'file', enabled: true, keys: [], ...more };
}

describe('limen doctor', () => {
  it('works when nothing runs, and says what to do', async () => {
    const [gatewayPort, consolePort] = [await freePort(), await freePort()];
    const outcome = await limen(['doctor'], {
      environment: {
        LIMEN_GATEWAY_PORT: String(gatewayPort),
        LIMEN_CONSOLE_PORT: String(consolePort),
        LIMEN_GATEWAY_ADDRESS: '127.0.0.1',
      },
    });
    expect(outcome.code).toBe(1);
    expect(outcome.out).toMatch(new RegExp(`ok +port ${gatewayPort} +free`));
    expect(outcome.out).toMatch(/^- +control +Limen is not running/m);
    expect(outcome.out).toMatch(/^ok +node +24\./m);
    expect(outcome.out).toContain('The gateway does not run here: npm start');
  });

  it('names a taken port and a bad file', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const address = other.address();
    const port = String(typeof address === 'object' ? address?.port : 0);
    const config = write('limen.yaml', PROVIDER.replace('type: openai', 'type: opnai'));
    const environment = {
      LIMEN_GATEWAY_PORT: port,
      LIMEN_GATEWAY_ADDRESS: '127.0.0.1',
      LIMEN_CONSOLE_PORT: String(await freePort()),
      LIMEN_CONFIG: config,
    };
    const outcome = await limen(['doctor', '--json'], { environment });
    other.close();
    const report = JSON.parse(outcome.out);
    expect(report).toMatchObject({ healthy: false, running: false });
    expect(report.checks).toContainEqual({
      name: `port ${port}`,
      state: 'problem',
      detail: expect.stringContaining(`Port ${port} is taken`),
    });
    expect(report.checks).toContainEqual(
      expect.objectContaining({
        name: 'configuration',
        state: 'problem',
        detail: expect.stringContaining(`${config}:4:14 spec.type: "opnai" is not allowed`),
      }),
    );
  });

  it('asks the stores and the control plane', async () => {
    admin.status = {
      ...admin.status,
      providers: () => [
        { name: 'anthropic', type: 'anthropic', source: 'environment', credential: 'ready' },
        { name: 'openai', type: 'openai', source: 'file', credential: 'missing' },
        {
          name: 'vertex',
          type: 'vertex',
          source: 'file',
          credential: 'ready',
          expiresAt: Date.UTC(2027, 0, 31),
          problem: 'oauth2.googleapis.com answered 400 (invalid_grant).',
        },
      ],
      identityProviders: () => [
        issuer('corp', {
          reachable: true,
          keys: [{ kty: 'EC', kid: 'a' }],
          fetchedAt: Date.UTC(2027, 0, 31),
        }),
        issuer('stale', { reachable: false, keys: [{ kty: 'RSA', kid: 'b' }], problem: 'x answered 500.' }),
        issuer('gone', { reachable: false, problem: 'x cannot be reached (ECONNREFUSED).' }),
        issuer('young', {}),
        issuer('asleep', { enabled: false }),
        issuer('told', { clientPromotion: PROMOTION }),
        issuer('refused', { clientPromotion: { ...PROMOTION, problem: 'x answered 403.' } }),
        issuer('secretless', { clientPromotion: { ...PROMOTION, ready: false } }),
      ],
      stores: () => Promise.resolve([{ name: 'redis', healthy: false, problem: 'does not answer' }]),
    };
    const environment = {
      LIMEN_ADMIN_URL: admin.url,
      LIMEN_ADMIN_TOKEN: admin.token,
      LIMEN_POSTGRES_URL: postgresUrl,
      LIMEN_REDIS_URL: `redis://127.0.0.1:${await freePort()}`,
      LIMEN_CLICKHOUSE_URL: `http://127.0.0.1:${await freePort()}`,
    };
    const report = JSON.parse((await limen(['doctor', '--json'], { environment })).out);
    const states = Object.fromEntries(
      report.checks.map(({ name, state }: { name: string; state: string }) => [name, state]),
    );
    expect(states).toMatchObject({
      postgres: 'ok',
      redis: 'problem',
      clickhouse: 'problem',
      control: 'ok',
      snapshot: 'ok',
      workers: 'ok',
      'envoy connection': 'problem',
      'provider anthropic': 'ok',
      'provider openai': 'problem',
      'provider vertex': 'warning',
      'identity provider corp': 'ok',
      'identity provider stale': 'warning',
      'identity provider gone': 'problem',
      'identity provider young': 'warning',
      'identity provider asleep': 'off',
      'clients of told': 'ok',
      'clients of refused': 'warning',
      'clients of secretless': 'problem',
      'store redis': 'problem',
    });
    expect(report.checks).toContainEqual(
      expect.objectContaining({
        name: 'clients of refused',
        detail:
          'its log came at 2027-01-31T00:00:00.000Z, 2 promoted, 3 refused, 4 given up, 1 waiting: x answered 403.',
      }),
    );
    expect(report.checks).toContainEqual(
      expect.objectContaining({
        name: 'provider vertex',
        detail:
          'vertex, from the file: its access token holds until 2027-01-31T00:00:00.000Z, but no new one is to be had: oauth2.googleapis.com answered 400 (invalid_grant).',
      }),
    );
    expect(report.running).toBe(true);
  });
});

describe('parseExpiry', () => {
  const now = Date.UTC(2026, 0, 1);

  it.each([
    ['90m', '2026-01-01T01:30:00.000Z'],
    ['12h', '2026-01-01T12:00:00.000Z'],
    ['30d', '2026-01-31T00:00:00.000Z'],
    ['2w', '2026-01-15T00:00:00.000Z'],
    ['2027-01-31', '2027-01-31T00:00:00.000Z'],
    ['2027-01-31T12:00:00+02:00', '2027-01-31T10:00:00.000Z'],
  ])('understands %s', (text, expected) => {
    expect(parseExpiry(text, now)).toBe(expected);
  });

  it.each(['', '30', 'd', '-1d', '30 days', 'tomorrow', '2027-13-01', '2027'])('refuses %j', (text) => {
    expect(() => parseExpiry(text, now)).toThrow(/is not allowed; a duration/);
  });
});

describe('formatTable', () => {
  it('aligns its columns', () => {
    expect(
      formatTable(
        ['a', 'long'],
        [
          ['wide cell', 'x'],
          ['y', ''],
        ],
      ),
    ).toBe('A          LONG\nwide cell  x\ny');
  });
});

const ACCESS = `apiVersion: limen.dev/v1alpha1
kind: Role
metadata: {name: researcher}
spec: {permissions: ['models:use'], models: ['demo*'], groups: [research]}
---
apiVersion: limen.dev/v1alpha1
kind: Team
metadata: {name: core}
spec: {members: [ada, alice], managers: [ada], groups: [research], roles: [developer]}
---
apiVersion: limen.dev/v1alpha1
kind: LimitPolicy
metadata: {name: team-budget}
spec: {per: team, usd: 100, period: month}
`;

describe('limen roles, teams and groups', () => {
  it('list what is in force', async () => {
    await admin.configure(ACCESS);
    const roles = await limen(['roles', 'list']);
    expect(roles.out).toMatch(/^NAME +BUILT IN +USERS +GROUPS +MODELS +PERMISSIONS$/m);
    expect(roles.out).toMatch(/^researcher +no +- +research +demo\* +models:use$/m);
    expect(roles.out).toMatch(/^super-admin +yes .* and \d+ more$/m);
    expect((await limen(['teams', 'list'])).out).toMatch(
      /^core +- +ada,alice +research +ada +developer +\*$/m,
    );
    await admin.call('PATCH', '/api/v1/users/ada', { groups: ['research', 'all'] });
    expect((await limen(['groups', 'list'])).out).toBe(
      [
        'NAME      USERS  BY TOKENS  ROLES       TEAMS',
        'all       1      0          -           -',
        'research  1      0          researcher  core',
      ].join('\n'),
    );
    expect(JSON.parse((await limen(['teams', 'list', '--json'])).out)).toMatchObject([{ name: 'core' }]);
  });

  it('show a role whole, and guess what was meant', async () => {
    await admin.configure(ACCESS);
    expect((await limen(['roles', 'show', 'researcher'])).out).toMatch(
      /permissions: +models:use\nmodels: +demo\*/,
    );
    expect(await limen(['roles', 'show', 'researchers'])).toMatchObject({
      err: 'error: There is no role "researchers"; did you mean researcher?',
      code: 1,
    });
  });

  it('let no name steer the terminal', () => {
    expect(formatTable(['user'], [['a\u001b[2Jb\nc']])).toBe('USER\na\\u001b[2Jb\\u000ac');
    expect(formatFields([['user', '\u202eada']])).toBe('user:  \\u202eada');
  });

  it('delete a team that nobody is in, and one that bounds somebody by force', async () => {
    const resource = (spec: object) => ({
      resources: [{ apiVersion: 'limen.dev/v1alpha1', kind: 'Team', metadata: { name: 'red' }, spec }],
    });
    await admin.call('PUT', '/api/v1/resources', resource({ members: ['ada'] }));
    expect(await limen(['teams', 'delete', 'red'])).toMatchObject({
      err: expect.stringContaining('listed member: 1, ada'),
      code: 1,
    });
    expect((await limen(['teams', 'delete', 'red', '--force', '--dry-run'])).out).toBe(
      'Team/red would be deleted.',
    );
    expect((await limen(['teams', 'delete', 'red', '--force'])).out).toBe('Team/red is deleted.');
    expect((await limen(['teams', 'delete', 'red'])).err).toContain('There is no Team/red');
  });

  it('say so where there are none', async () => {
    expect(await limen(['teams', 'list'])).toMatchObject({ err: 'There are no teams: declare a Team.' });
  });
});

describe('limen limits', () => {
  const NANO = 1_000_000_000;
  const counter = (subject: string, used: number, reserved = 0): LimitUsage => ({
    rule: 'team-budget',
    subject,
    unit: 'usd',
    limit: 100 * NANO,
    used,
    reserved,
    overrun: 0,
    periodStart: Date.UTC(2026, 10, 1),
    resetsAt: Date.UTC(2026, 11, 1),
  });

  beforeEach(async () => {
    await admin.close();
    const reset: string[] = [];
    admin = await startAdmin(postgresUrl, {
      limits: {
        usage: ({ subject }) =>
          Promise.resolve(
            [counter('core', 12.5 * NANO), counter('research', 80 * NANO, 15.5 * NANO)].filter(
              (one) => subject === undefined || one.subject === subject,
            ),
          ),
        reset: (rule, subject) => Promise.resolve(reset.push(`${rule}/${subject}`)),
        drift: () => Promise.resolve([{ ...counter('core', 10 * NANO), ledger: 12 * NANO, drift: 2 * NANO }]),
      },
    });
    await admin.configure(ACCESS);
  });

  it('list limits and what is used of them, fullest first', async () => {
    expect((await limen(['limits', 'list'])).out).toMatch(
      /^team-budget +team +\$100\.0000 +month \(UTC\) +hard +\w+ +everybody$/m,
    );
    expect((await limen(['limits', 'usage'])).out).toBe(
      [
        'RULE         SUBJECT   % USED    USED      RESERVED  LIMIT      OVERRUN  RESETS',
        'team-budget  research    95.5 %  $80.0000  $15.5000  $100.0000  -        2026-12-01 00:00',
        'team-budget  core        12.5 %  $12.5000  $0.0000   $100.0000  -        2026-12-01 00:00',
      ].join('\n'),
    );
    const json: unknown = JSON.parse((await limen(['limits', 'usage', '--subject', 'core', '--json'])).out);
    expect(json).toMatchObject([{ subject: 'core', used: 12.5, percentUsed: 12.5 }]);
    expect((await limen(['limits', 'usage', '--drift'])).out).toMatch(
      /core +\$10\.0000 +\$12\.0000 +\$2\.0000 +\$100\.0000$/,
    );
  });

  it('reset, which is recorded; and know no limit that is not there', async () => {
    expect(await limen(['limits', 'reset', 'team-budget', '--subject', 'core'])).toMatchObject({
      out: 'What core has used of team-budget is forgotten.',
      code: 0,
    });
    expect((await limen(['events', '--kind', 'limit'])).out).toContain(
      'admin token reset what core has used of team-budget.',
    );
    expect(await limen(['limits', 'reset', 'team-budgets', '--subject', 'core'])).toMatchObject({
      err: 'error: There is no limit "team-budgets"; did you mean team-budget?',
      code: 1,
    });
  });
});

describe('limen tokens', () => {
  it('revoke by one of three, which is listed', async () => {
    const revoked = await limen(['tokens', 'revoke', '--subject', 'corp:ada', '--reason', 'laptop lost']);
    expect(revoked.out).toMatch(/tokens of corp:ada that were issued until .* UTC are refused/);
    expect((await limen(['tokens', 'revocations'])).out).toMatch(
      /subject +corp:ada .* admin token +laptop lost$/m,
    );
    const [id = ''] = /^rev_[\w-]+/.exec(revoked.out) ?? [];
    expect((await limen(['tokens', 'restore', id])).out).toContain(`${id} is taken back`);
    expect((await limen(['tokens', 'revocations'])).err).toBe('Nothing is revoked.');
    expect((await limen(['tokens', 'revoke', '--jti', 'abc'])).out).toContain('the token abc is refused');
    expect(await limen(['tokens', 'revoke'])).toMatchObject({ code: 2 });
    expect(await limen(['tokens', 'revoke', '--jti', 'a', '--issuer', 'b'])).toMatchObject({ code: 2 });
  });
});

describe('limen with a credential that may not do everything', () => {
  it('is told which permission is missing', async () => {
    await admin.configure(ACCESS);
    admin.directory.setUser({ id: 'ada', groups: [], roles: ['viewer'] });
    const LIMEN_ADMIN_TOKEN = admin.directory.addKey({ user: 'ada', surfaces: ['admin'] });
    const environment = { LIMEN_ADMIN_URL: admin.url, LIMEN_ADMIN_TOKEN };
    expect((await limen(['roles', 'list'], { environment })).code).toBe(0);
    const refused = await limen(['limits', 'reset', 'team-budget', '--subject', 'core'], { environment });
    expect(refused).toMatchObject({ err: 'error: This needs the permission limits:write.', code: 1 });
  });
});
