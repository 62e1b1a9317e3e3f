import { generateKeyPairSync } from 'node:crypto';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { loadTexts } from '../config/load/load.ts';
import type { KnownTeamStore } from '../core/configuration-store.ts';
import { ALL_CAPABILITIES } from '../core/capabilities.ts';
import type { KnownTeam } from '../core/snapshot.ts';
import { createLogger } from '../telemetry/logger.ts';
import { createVault } from '../vault/vault.ts';
import { buildXds } from '../xds/build/index.ts';
import { ConfigurationCenter } from './configuration-center.ts';
import type { AddressPolicy } from './addresses.ts';
import type { GuardedFetch } from './guarded-fetch.ts';
import { createLastGoodFile } from './last-good-file.ts';
import type { Configuration } from './publisher.ts';

const PROVIDER = `apiVersion: limen.dev/v1alpha1
kind: Provider
metadata: {name: local}
spec: {type: openai-compatible, baseUrl: 'http://127.0.0.1:1/v1'}
`;

function fileOf(text: string) {
  return loadTexts({ texts: [{ file: 'limen.yaml', text }], issues: [], fingerprint: text, folders: [] });
}

const XDS = {
  address: '0.0.0.0',
  port: 3000,
  processorSockets: ['/run/processor.sock'],
  capabilities: ALL_CAPABILITIES,
  errorBodies: [],
  placementOf: () => ({ kind: 'header', header: 'authorization', prefix: 'Bearer ' }) as const,
  foreignHeadersOf: () => [],
  systemCaFile: '/ca.pem',
};
const ENCRYPTION_KEY = '5f0c7a91d3e84b26c9107fe2ab84d36c5f0c7a91d3e84b26c9107fe2ab84d36c';
const OTHER_KEY = '93b1e0d7c25f4a688e17bd0f36ca49e293b1e0d7c25f4a688e17bd0f36ca49e2';
const BROKEN = `${PROVIDER}---\nkind: Nonsense\n`;
const nobody = () => undefined;
const unused = () => Promise.reject(new Error('not used'));

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'limen-center-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

interface Given {
  readonly encryptionKey?: string;
  readonly config?: string;
  readonly fetch?: GuardedFetch;
  readonly addressPolicy?: AddressPolicy;
  readonly teams?: KnownTeamStore;
}

function setUp({
  encryptionKey = ENCRYPTION_KEY,
  config = '/limen.yaml',
  fetch = unused,
  addressPolicy = { allowedRanges: [] },
  teams = { list: () => Promise.resolve([]), remember: () => Promise.resolve() },
}: Given = {}) {
  const vault = createVault(encryptionKey, 'a test');
  const published: Configuration[] = [];
  const center = new ConfigurationCenter({
    resources: { list: () => Promise.resolve([]), change: unused, revision: unused },
    teams,
    vault,
    environment: {},
    ownFolder: '/nowhere',
    fetch,
    observer: { tokenRefreshed: () => undefined },
    secretFolders: [],
    addressPolicy,
    lastGoodFile: createLastGoodFile(join(folder, 'last-good.json'), config, vault),
    implied: { environment: [], builtIn: [] },
    publish: (configuration) => {
      published.push(configuration);
      return Promise.resolve();
    },
    directory: { set: () => Promise.resolve() },
    issuers: { setIssuers: () => Promise.resolve() },
    logger: createLogger('test', 'silent'),
    now: Date.now,
  });
  return {
    center,
    published,
  };
}

describe('ConfigurationCenter', () => {
  it('publishes nothing and completes no key table while its first file is wrong', async () => {
    const { center, published } = setUp();
    const onKeysComplete = vi.fn<() => void>();
    await center.start(fileOf(`${PROVIDER}---\nkind: Nonsense\n`), onKeysComplete);
    await center.onResources();
    expect(center.issues).not.toEqual([]);
    expect([published, onKeysComplete.mock.calls]).toEqual([[], []]);
    await center.onFile(fileOf(PROVIDER));
    expect(Object.keys(published[0]?.snapshot.providers ?? {})).toEqual(['local']);
    await center.onFile(fileOf(PROVIDER));
    expect(onKeysComplete).toHaveBeenCalledTimes(1);
    await center.close();
  });

  it('gives Envoy a renewed access token as a secret, and changes nothing else', async () => {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const account = {
      type: 'service_account',
      client_email: 'limen@p.iam.gserviceaccount.com',
      private_key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
      token_uri: 'https://oauth2.googleapis.com/token',
    };
    await writeFile(join(folder, 'account.json'), JSON.stringify(account));
    let tokens = 0;
    const { center, published } = setUp({
      fetch: () => {
        tokens += 1;
        const token = { access_token: `ya29.${tokens}`, token_type: 'Bearer', expires_in: 5 };
        return Promise.resolve({ status: 200, headers: {}, body: Buffer.from(JSON.stringify(token)) });
      },
    });
    const spec = `{type: vertex, project: p, credential: {file: '${join(folder, 'account.json')}'}}`;
    const head = 'apiVersion: limen.dev/v1alpha1\nkind: Provider\nmetadata: {name: vertex}\n';
    await center.start(fileOf(`${head}spec: ${spec}\n`), nobody);
    await vi.waitFor(() => expect(published.length).toBeGreaterThan(2), { timeout: 20_000 });
    expect(center.credentialOf('vertex').state).toBe('ready');
    await center.close();

    const [before, after] = published
      .slice(-2)
      .map((configuration) => buildXds(configuration.snapshot, { ...XDS, secrets: configuration.secrets }));
    expect(before?.secrets).not.toEqual(after?.secrets);
    expect({ ...before, secrets: {} }).toEqual({ ...after, secrets: {} });
    expect(JSON.stringify(published)).not.toContain('PRIVATE KEY');
  });

  it('tells Envoy where Backends are, and leaves out those that lead where nobody may ask', async () => {
    const names: Record<string, string> = { 'good.example': '198.51.99.1', 'bad.example': '169.254.169.254' };
    const { center, published } = setUp({
      addressPolicy: {
        allowedRanges: ['10.0.0.0/8'],
        resolve: (name) => Promise.resolve([{ address: names[name] ?? '', family: 4 }]),
      },
    });
    const backend = (name: string, url: string) =>
      `apiVersion: limen.dev/v1alpha1\nkind: Backend\nmetadata: {name: ${name}}\nspec: {url: '${url}'}\n`;
    const urls = { good: 'https://good.example', bad: 'https://bad.example', inside: 'http://10.1.2.3:8080' };
    const file = Object.entries(urls).map(([name, url]) => backend(name, url));
    await center.start(fileOf(file.join('---\n')), nobody);
    await center.close();
    expect(published.map(({ backendAddresses }) => backendAddresses)).toEqual([
      { good: ['198.51.99.1'], inside: ['10.1.2.3'] },
    ]);
    expect(center.warnings).toMatchObject([
      { resource: 'Backend/bad', path: 'spec.url', message: expect.stringContaining('not a public address') },
    ]);
    const [xds] = published.map((one) => buildXds(one.snapshot, { ...XDS, ...one }));
    const addresses = (name: string) => JSON.stringify(xds?.clusters[`backend/${name}`]?.['load_assignment']);
    expect(addresses('good')).toContain('198.51.99.1');
    expect(addresses('bad')).not.toContain('address');
    expect(JSON.stringify(xds?.clusters)).not.toContain('LOGICAL_DNS');
  });

  describe('a Team that vanishes', () => {
    const team = (members: string) =>
      `---\napiVersion: limen.dev/v1alpha1\nkind: Team\nmetadata: {name: red}\nspec: {members: ${members}, models: [m]}\n`;
    /** What a database would hold. */
    const memory = () => {
      const known = new Map<string, KnownTeam>();
      const state = { isAway: false, known };
      const store: KnownTeamStore = {
        list: () => (state.isAway ? Promise.reject(new Error('away')) : Promise.resolve([...known.values()])),
        remember: (teams) => {
          for (const one of teams) known.set(one.name, one);
          return Promise.resolve();
        },
      };
      return { state, store };
    };

    it('is missed with whom it listed at last, by a later control plane too, until it is back or given up', async () => {
      const { state, store } = memory();
      const first = setUp({ teams: store });
      await first.center.start(fileOf(PROVIDER + team('[ada]')), nobody);
      await first.center.onFile(fileOf(PROVIDER + team('[ada, bob]')));
      expect(first.published.at(-1)?.snapshot.formerTeams).toBeUndefined();
      expect(first.center.warnings).toEqual([]);
      await first.center.onFile(fileOf(PROVIDER));
      const missed = { red: { name: 'red', members: ['ada', 'bob'], groups: [], models: ['m'] } };
      expect(first.published.at(-1)?.snapshot.formerTeams).toEqual(missed);
      expect(first.center.warnings).toMatchObject([
        { resource: 'Team/red', message: 'is no longer declared, and still bounds who was in it' },
      ]);
      await first.center.close();

      const { center, published } = setUp({ teams: store });
      await center.start(fileOf(PROVIDER), nobody);
      expect(published.at(-1)?.snapshot.formerTeams).toEqual(missed);
      await center.onFile(fileOf(PROVIDER + team('[]')));
      expect(published.at(-1)?.snapshot.formerTeams).toBeUndefined();
      await center.onFile(fileOf(PROVIDER));
      expect(published.at(-1)?.snapshot.formerTeams).toMatchObject({ red: { members: [] } });
      state.known.clear();
      await center.onResources();
      expect(published.at(-1)?.snapshot.formerTeams).toBeUndefined();
      expect(center.warnings).toEqual([]);
      await center.close();
    });

    it('keeps who was in it from default roles, and those that it gave among them', async () => {
      const { store } = memory();
      const { center, published } = setUp({ teams: store });
      await center.start(fileOf(PROVIDER + team('[]').replace('models: [m]', 'roles: [viewer]')), nobody);
      await center.onFile(fileOf(PROVIDER));
      expect(published.at(-1)?.snapshot.formerTeams).toEqual({
        red: { name: 'red', members: [], groups: [], defaultRoles: ['viewer'] },
      });
      await center.close();
    });

    it('lets nothing come into force where nobody knows whether there was one', async () => {
      const { state, store } = memory();
      state.known.set('red', { name: 'red', members: ['ada'], groups: [], models: ['m'] });
      state.isAway = true;
      const { center, published } = setUp({ teams: store });
      await expect(center.start(fileOf(PROVIDER), nobody)).rejects.toThrow('away');
      expect(published).toEqual([]);
      state.isAway = false;
      await center.onFile(fileOf(PROVIDER));
      expect(published.at(-1)?.snapshot.formerTeams).toMatchObject({ red: { members: ['ada'] } });
      await center.close();
    });

    it('is missed where the database can be read and not written', async () => {
      const { state, store } = memory();
      state.known.set('red', { name: 'red', members: ['ada'], groups: [], models: ['m'] });
      const readOnly = { ...store, remember: () => Promise.reject(new Error('read-only')) };
      const { center, published } = setUp({ teams: readOnly });
      await center.start(fileOf(PROVIDER + team('[eve]').replace('red', 'blue')), nobody);
      expect(published.at(-1)?.snapshot.formerTeams).toMatchObject({ red: { members: ['ada'] } });
      await center.close();
    });

    it('is missed while the database is away', async () => {
      const { state, store } = memory();
      const { center, published } = setUp({ teams: store });
      await center.start(fileOf(PROVIDER), nobody);
      state.isAway = true;
      await center.onFile(fileOf(PROVIDER + team('[ada]')));
      await center.onFile(fileOf(PROVIDER));
      expect(published.at(-1)?.snapshot.formerTeams).toMatchObject({ red: { members: ['ada'] } });
      await center.close();
    });
  });

  describe('that starts with a file that is wrong', () => {
    const withSecret = PROVIDER.replace("v1'}", "v1', credential: {value: sk-very-secret}}");

    it('goes on with what the file said when it was right, and its secrets', async () => {
      const before = setUp();
      await before.center.start(fileOf(withSecret), nobody);
      await before.center.close();

      const { center, published } = setUp();
      const onKeysComplete = vi.fn<() => void>();
      await center.start(fileOf(BROKEN), onKeysComplete);
      expect(published).toEqual([{ ...before.published[0], listenerCertificate: undefined }]);
      expect(published[0]?.secrets).toEqual({ local: 'sk-very-secret' });
      expect(onKeysComplete).toHaveBeenCalledTimes(1);
      expect(center.issues).not.toEqual([]);
      expect(center.inForce[0]?.origin).toEqual({ source: 'file', file: 'limen.yaml', line: 1 });

      await center.onFile(fileOf(PROVIDER));
      expect(center.issues).toEqual([]);
      expect(published.at(-1)?.secrets).toEqual({});
      await center.close();
    });

    it('goes on so where only the whole is wrong', async () => {
      const before = setUp();
      await before.center.start(fileOf(PROVIDER), nobody);
      await before.center.close();
      const { center, published } = setUp();
      const model = 'apiVersion: limen.dev/v1alpha1\nkind: Model\nmetadata: {name: m}\n';
      await center.start(fileOf(`${PROVIDER}---\n${model}spec: {targets: [{provider: nobody}]}\n`), nobody);
      expect(published.map(({ snapshot }) => snapshot.version)).toEqual([
        before.published[0]?.snapshot.version,
      ]);
      expect(center.issues).toMatchObject([{ message: 'is no Provider' }]);
      await center.close();
      // What was wrong was not kept as the last good one.
      const again = setUp();
      await again.center.start(fileOf(BROKEN), nobody);
      expect(again.published).toHaveLength(1);
      await again.center.close();
    });

    it('keeps no secret in clear, and the file for its own user alone', async () => {
      const { center } = setUp();
      await center.start(fileOf(withSecret), nobody);
      await center.close();
      const path = join(folder, 'last-good.json');
      expect(await readFile(path, 'utf8')).not.toContain('very-secret');
      expect((await stat(path)).mode & 0o777).toBe(0o600);
    });

    it.each([
      ['sealed by another key', undefined, { encryptionKey: OTHER_KEY }],
      ['of another file', undefined, { config: '/other.yaml' }],
      ['cut off', '{"version":1,"resources":[{', {}],
      ['of another version', '{"version":2}', {}],
    ])('waits for a right file where what was kept is %s', async (_, text, given) => {
      const before = setUp();
      await before.center.start(fileOf(withSecret), nobody);
      await before.center.close();
      if (text !== undefined) await writeFile(join(folder, 'last-good.json'), text);
      const { center, published } = setUp(given);
      await center.start(fileOf(BROKEN), nobody);
      expect(published).toEqual([]);
      await center.close();
    });
  });
});
