import { describe, expect, it, vi } from 'vitest';
import { loadTexts } from '../config/load/load.ts';
import type { VirtualKey } from '../core/snapshot.ts';
import { createLogger } from '../telemetry/logger.ts';
import { createVault } from '../vault/vault.ts';
import { ConfigurationCenter } from './configuration-center.ts';
import type { KeyChange } from './key-directory.ts';
import type { Configuration } from './publisher.ts';

const PROVIDER = `apiVersion: limen.dev/v1alpha1
kind: Provider
metadata: {name: local}
spec: {type: openai-compatible, baseUrl: 'http://127.0.0.1:1/v1'}
`;

function fileOf(text: string) {
  return loadTexts({ texts: [{ file: 'limen.yaml', text }], issues: [], fingerprint: text, folders: [] });
}

const unused = () => Promise.reject(new Error('not used'));

function setUp() {
  const published: Configuration[] = [];
  const keyChanges: KeyChange[] = [];
  let active: VirtualKey[] = [{ id: 'k', hash: 'a'.repeat(64), user: 'ann' }];
  let publish = (configuration: Configuration): Promise<void> => {
    published.push(configuration);
    return Promise.resolve();
  };
  const center = new ConfigurationCenter({
    resources: { list: () => Promise.resolve([]), change: unused, revision: unused },
    keys: {
      create: unused,
      list: unused,
      get: unused,
      revoke: unused,
      listActive: () => Promise.resolve(active),
    },
    vault: createVault('5f0c7a91d3e84b26c9107fe2ab84d36c5f0c7a91d3e84b26c9107fe2ab84d36c', 'a test'),
    environment: {},
    implied: { environment: [], builtIn: [] },
    publish: (configuration) => publish(configuration),
    publishKeys: (change) => {
      keyChanges.push(change);
      return Promise.resolve();
    },
    logger: createLogger('test', 'silent'),
    now: Date.now,
  });
  return {
    center,
    published,
    keyChanges,
    setActive: (keys: VirtualKey[]) => (active = keys),
    setPublish: (next: typeof publish) => (publish = next),
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

  it('tells of a revocation while an Envoy has not taken a configuration', async () => {
    const { center, keyChanges, setActive, setPublish } = setUp();
    await center.start(fileOf(PROVIDER), () => undefined);
    const taken = Promise.withResolvers<void>();
    setPublish(() => taken.promise);
    const publication = center.onFile(fileOf(PROVIDER.replace('127.0.0.1', '127.0.0.2')));
    setActive([]);
    await center.onKeys();
    expect(keyChanges.at(-1)).toEqual({ upsert: [], remove: ['a'.repeat(64)] });
    taken.resolve();
    await publication;
    await center.close();
  });
});
