import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { SecretSource } from './resources/common.ts';
import { resolveSecrets, type DeclaredCredential } from './secrets.ts';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'limen-secrets-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

function texts(sources: Record<string, SecretSource>): Record<string, DeclaredCredential> {
  return Object.fromEntries(
    Object.entries(sources).map(([name, source]) => [name, { kind: 'text', source } as const]),
  );
}

const ACCOUNT = {
  type: 'service_account',
  project_id: 'p',
  private_key_id: 'k1',
  private_key: '-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n',
  client_email: 'limen@p.iam.gserviceaccount.com',
  token_uri: 'https://oauth2.googleapis.com/token',
};

describe('resolveSecrets', () => {
  it('reads values, variables and files', async () => {
    await writeFile(join(folder, 'key'), 'from-file\n');
    const resolved = await resolveSecrets(
      {
        issuers: [],
        credentials: texts({ a: { value: 'as-is' }, b: { env: 'KEY' }, c: { file: join(folder, 'key') } }),
        keys: [],
      },
      { environment: { KEY: 'from-environment' }, ownFolder: '/nowhere' },
    );
    expect(resolved).toEqual({
      providers: { a: 'as-is', b: 'from-environment', c: 'from-file' },
      googleAccounts: {},
      keys: [],
      sharedSecrets: {},
      promotions: {},
      warnings: [],
    });
  });

  it('reads nothing in the folder of the installation itself, by whatever way it is named', async () => {
    const own = join(folder, 'own');
    await mkdir(join(own, 'keys'), { recursive: true });
    await writeFile(join(own, 'keys/admin.token'), 'of-the-installation');
    await writeFile(join(folder, 'own-not'), 'beside-it');
    await symlink(join(own, 'keys/admin.token'), join(folder, 'link'));
    await symlink(own, join(folder, 'linked-folder'));
    const resolved = await resolveSecrets(
      {
        issuers: [],
        credentials: texts({
          plain: { file: join(own, 'keys/admin.token') },
          dots: { file: `${own}/keys/../keys/admin.token` },
          link: { file: join(folder, 'link') },
          folder: { file: join(folder, 'linked-folder/keys/admin.token') },
          process: { file: `/proc/self/root${own}/keys/admin.token` },
          beside: { file: join(folder, 'own-not') },
        }),
        keys: [],
      },
      { environment: {}, ownFolder: join(folder, 'linked-folder') },
    );
    expect(resolved.providers).toEqual({ beside: 'beside-it' });
    expect(resolved.warnings.map(({ resource }) => resource)).toEqual([
      'Provider/plain',
      'Provider/dots',
      'Provider/link',
      'Provider/folder',
      'Provider/process',
    ]);
    expect(resolved.warnings[0]?.message).toContain('in the data folder of Limen itself');
  });

  it('warns of each that is missing or unusable, and goes on with the others', async () => {
    await writeFile(join(folder, 'empty'), '\n');
    const resolved = await resolveSecrets(
      {
        issuers: [],
        credentials: texts({
          good: { value: 'fine' },
          unset: { env: 'NOT_SET' },
          gone: { file: join(folder, 'gone') },
          empty: { file: join(folder, 'empty') },
          split: { value: 'secret-one\r\nx-evil: 1' },
        }),
        keys: [],
      },
      { environment: {}, ownFolder: '/nowhere' },
    );
    expect(resolved.providers).toEqual({ good: 'fine' });
    expect(resolved.warnings).toEqual([
      {
        resource: 'Provider/unset',
        message: 'Credential is missing: the environment variable NOT_SET is not set.',
      },
      {
        resource: 'Provider/gone',
        message: `Credential is missing: the file ${join(folder, 'gone')} cannot be read (ENOENT).`,
      },
      { resource: 'Provider/empty', message: `Credential in the file ${join(folder, 'empty')} is empty.` },
      { resource: 'Provider/split', message: 'Credential value holds characters that no header may carry.' },
    ]);
    expect(JSON.stringify(resolved.warnings)).not.toContain('secret-one');
  });

  it('turns declared keys into hashes, and leaves out the weak', async () => {
    const key = 'tw-0123456789abcdef';
    const hash = createHash('sha256').update(key).digest('hex');
    const resolved = await resolveSecrets(
      {
        issuers: [],
        credentials: {},
        keys: [
          { key: { id: 'config/a', user: 'a' }, secret: { value: key } },
          { key: { id: 'config/b', user: 'b' }, secret: { sha256: hash } },
          { key: { id: 'config/c', user: 'c' }, secret: { value: 'short' } },
        ],
      },
      { environment: {}, ownFolder: '/nowhere' },
    );
    expect(resolved.keys).toEqual([
      { id: 'config/a', user: 'a', hash },
      { id: 'config/b', user: 'b', hash },
    ]);
    expect(resolved.warnings).toEqual([
      { resource: 'ApiKey/c', message: 'Key is shorter than 16 characters and not in force.' },
    ]);
  });

  it('reads the secrets of issuers, and leaves out the weak', async () => {
    const long = 'a secret of two and thirty bytes';
    const resolved = await resolveSecrets(
      {
        credentials: {},
        keys: [],
        issuers: [
          { name: 'good', issuer: 'a', keys: { kind: 'sharedSecret', source: { value: long } } },
          { name: 'weak', issuer: 'b', keys: { kind: 'sharedSecret', source: { value: long.slice(1) } } },
          { name: 'open', issuer: 'https://c', keys: { kind: 'discovery' } },
        ],
      },
      { environment: {}, ownFolder: '/nowhere' },
    );
    expect(resolved.sharedSecrets).toEqual({ good: long });
    expect(resolved.warnings).toEqual([
      {
        resource: 'IdentityProvider/weak',
        message: 'Shared secret is shorter than 32 bytes: its tokens are refused.',
      },
    ]);
  });

  it('reads the secrets of the promotion of clients, both or neither', async () => {
    const good = { value: 'a secret of a webhook' };
    const promoted = (name: string, clientSecret: SecretSource, webhookSecret: SecretSource) => ({
      name,
      issuer: 'https://id.example.com',
      keys: { kind: 'discovery' } as const,
      promotion: { clientSecret, webhookSecret },
    });
    const resolved = await resolveSecrets(
      {
        credentials: {},
        keys: [],
        issuers: [
          promoted('good', { env: 'CLIENT' }, good),
          promoted('clientless', { env: 'NOWHERE' }, good),
          promoted('open', good, { env: 'NOWHERE' }),
          promoted('weak', good, { value: 'fifteen letters' }),
        ],
      },
      { environment: { CLIENT: 'of-the-client' }, ownFolder: '/nowhere' },
    );
    expect(resolved.promotions).toEqual({
      good: { clientSecret: 'of-the-client', webhookSecret: good.value },
    });
    const missing = 'is missing: the environment variable NOWHERE is not set.';
    expect(resolved.warnings.map(({ resource, message }) => `${resource}: ${message}`)).toEqual([
      `IdentityProvider/clientless: No client is promoted: clientSecret ${missing}`,
      `IdentityProvider/open: No client is promoted: webhookSecret ${missing}`,
      'IdentityProvider/weak: No client is promoted: webhookSecret is shorter than 16 characters.',
    ]);
  });

  it('puts the parts of an access key together, and names the part that is missing', async () => {
    const resolved = await resolveSecrets(
      {
        issuers: [],
        credentials: {
          whole: {
            kind: 'accessKey',
            source: {
              accessKeyId: { value: 'AKIA1' },
              secretAccessKey: { env: 'SECRET' },
              sessionToken: { value: 'token' },
            },
          },
          torn: {
            kind: 'accessKey',
            source: { accessKeyId: { value: 'AKIA1' }, secretAccessKey: { env: 'NOT_SET' } },
          },
        },
        keys: [],
      },
      { environment: { SECRET: 'secret' }, ownFolder: '/nowhere' },
    );
    expect(resolved.providers).toEqual({
      whole: '{"accessKeyId":"AKIA1","secretAccessKey":"secret","sessionToken":"token"}',
    });
    expect(resolved.warnings).toEqual([
      {
        resource: 'Provider/torn',
        message: 'Credential secretAccessKey is missing: the environment variable NOT_SET is not set.',
      },
    ]);
  });

  it('reads the key of a service account, and shows nothing of one that is none', async () => {
    await writeFile(join(folder, 'account.json'), JSON.stringify(ACCOUNT, null, 2));
    const account = (source: SecretSource): DeclaredCredential => ({ kind: 'googleServiceAccount', source });
    const resolved = await resolveSecrets(
      {
        issuers: [],
        credentials: {
          good: account({ file: join(folder, 'account.json') }),
          user: account({ value: JSON.stringify({ ...ACCOUNT, type: 'authorized_user' }) }),
          text: account({ value: 'AIza-very-secret' }),
          local: account({ value: JSON.stringify({ ...ACCOUNT, token_uri: 'file:///etc/passwd' }) }),
        },
        keys: [],
      },
      { environment: {}, ownFolder: '/nowhere' },
    );
    expect(resolved.providers).toEqual({});
    expect(resolved.googleAccounts).toEqual({
      good: {
        clientEmail: ACCOUNT.client_email,
        privateKey: ACCOUNT.private_key,
        privateKeyId: 'k1',
        tokenUri: ACCOUNT.token_uri,
      },
    });
    expect(resolved.warnings.map(({ resource }) => resource)).toEqual([
      'Provider/user',
      'Provider/text',
      'Provider/local',
    ]);
    expect(JSON.stringify(resolved.warnings)).not.toMatch(/very-secret|PRIVATE/);
  });
});
