import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { resolveSecrets } from './secrets.ts';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'limen-secrets-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

describe('resolveSecrets', () => {
  it('reads values, variables and files', async () => {
    await writeFile(join(folder, 'key'), 'from-file\n');
    const resolved = await resolveSecrets(
      {
        secretSources: { a: { value: 'as-is' }, b: { env: 'KEY' }, c: { file: join(folder, 'key') } },
        keys: [],
      },
      { KEY: 'from-environment' },
    );
    expect(resolved).toEqual({
      providers: { a: 'as-is', b: 'from-environment', c: 'from-file' },
      keys: [],
      warnings: [],
    });
  });

  it('warns of each that is missing or unusable, and goes on with the others', async () => {
    await writeFile(join(folder, 'empty'), '\n');
    const resolved = await resolveSecrets(
      {
        secretSources: {
          good: { value: 'fine' },
          unset: { env: 'NOT_SET' },
          gone: { file: join(folder, 'gone') },
          empty: { file: join(folder, 'empty') },
          split: { value: 'secret-one\r\nx-evil: 1' },
        },
        keys: [],
      },
      {},
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
        secretSources: {},
        keys: [
          { key: { id: 'config/a', user: 'a' }, secret: { value: key } },
          { key: { id: 'config/b', user: 'b' }, secret: { sha256: hash } },
          { key: { id: 'config/c', user: 'c' }, secret: { value: 'short' } },
        ],
      },
      {},
    );
    expect(resolved.keys).toEqual([
      { id: 'config/a', user: 'a', hash },
      { id: 'config/b', user: 'b', hash },
    ]);
    expect(resolved.warnings).toEqual([
      { resource: 'ApiKey/c', message: 'Key is shorter than 16 characters and not in force.' },
    ]);
  });
});
