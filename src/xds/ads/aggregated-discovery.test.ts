import { describe, expect, test } from 'vitest';
import type { TypedJson } from '../encode/encode.ts';
import { EncodeError } from '../encode/problems.ts';
import { AggregatedDiscovery } from './aggregated-discovery.ts';
import { ResourceCache, setVersion, typeUrlOf } from './resource-cache.ts';
import { scriptedDeltaEnvoy, scriptedWorldEnvoy } from './testing/scripted-envoys.ts';

function cluster(name: string, seconds = 1): TypedJson {
  return { '@type': typeUrlOf('clusters'), name, type: 'STATIC', connect_timeout: `${seconds}s` };
}
function listener(name: string, port = 80): TypedJson {
  return {
    '@type': typeUrlOf('listeners'),
    name,
    address: { socket_address: { address: '127.0.0.1', port_value: port } },
  };
}
function routes(name: string, host = '*'): TypedJson {
  return { '@type': typeUrlOf('routes'), name, virtual_hosts: [{ name: 'all', domains: [host] }] };
}
function secret(name: string, value: string): TypedJson {
  return { '@type': typeUrlOf('secrets'), name, generic_secret: { secret: { inline_string: value } } };
}

const PROTOCOLS = [
  { protocol: 'delta', open: scriptedDeltaEnvoy, delta: true },
  { protocol: 'state-of-the-world', open: scriptedWorldEnvoy, delta: false },
] as const;

describe.each(PROTOCOLS)('ADS in $protocol', ({ protocol, open, delta }) => {
  test('answers a wildcard subscription with everything, once', () => {
    const ads = new AggregatedDiscovery();
    ads.setResources({ clusters: { a: cluster('a'), b: cluster('b') } });
    const envoy = open(ads);
    envoy.subscribe('clusters');
    expect(envoy.responses).toMatchObject([{ kind: 'clusters', count: 2 }]);
    envoy.accept('clusters');
    ads.setResources({ clusters: { b: cluster('b'), a: cluster('a') } });
    expect(envoy.responses).toHaveLength(1);
  });

  test('says nothing before a kind was ever published, and says that there is none once there is none', () => {
    const ads = new AggregatedDiscovery();
    const envoy = open(ads);
    envoy.subscribe('clusters');
    envoy.subscribe('listeners');
    expect(envoy.responses).toEqual([]);
    ads.setResources({ clusters: {} });
    expect(envoy.responses).toMatchObject([{ kind: 'clusters', count: 0 }]);
  });

  test('sends a change, with versions that follow content alone', () => {
    const ads = new AggregatedDiscovery();
    ads.setResources({ clusters: { a: cluster('a'), b: cluster('b') } });
    const envoy = open(ads);
    envoy.subscribe('clusters');
    envoy.accept('clusters');
    ads.setResources({ clusters: { a: cluster('a', 2), b: cluster('b') } });
    expect(envoy.responses).toHaveLength(2);
    // Delta sends just what differs; state of the world sends the whole kind.
    expect(envoy.responses[1]?.count).toBe(delta ? 1 : 2);
    envoy.accept('clusters');
    ads.setResources({ clusters: { a: cluster('a'), b: cluster('b') } });
    expect(envoy.responses[2]?.version).toBe(envoy.responses[0]?.version);
    expect(new Set(envoy.responses.map(({ nonce }) => nonce)).size).toBe(3);
  });

  test('tells of removed resources', () => {
    const ads = new AggregatedDiscovery();
    ads.setResources({ clusters: { a: cluster('a'), b: cluster('b') } });
    const envoy = open(ads);
    envoy.subscribe('clusters');
    envoy.accept('clusters');
    ads.setResources({ clusters: { b: cluster('b') } });
    expect(envoy.responses[1]).toMatchObject(delta ? { count: 0, removed: ['a'] } : { count: 1 });
  });

  test('keepAbsent adds without removing', () => {
    const ads = new AggregatedDiscovery();
    ads.setResources({ clusters: { a: cluster('a') } });
    const envoy = open(ads);
    envoy.subscribe('clusters');
    envoy.accept('clusters');
    ads.setResources({ clusters: { b: cluster('b') } }, { keepAbsent: true });
    expect(envoy.responses[1]).toMatchObject(delta ? { names: ['b'], removed: [] } : { count: 2 });
  });

  test('a named subscription gets what it names, and a change elsewhere is not sent', () => {
    const ads = new AggregatedDiscovery();
    ads.setResources({ routes: { main: routes('main'), other: routes('other') } });
    const envoy = open(ads);
    envoy.subscribe('routes', ['main']);
    expect(envoy.responses).toMatchObject([{ kind: 'routes', count: 1 }]);
    envoy.accept('routes');
    ads.setResources({ routes: { main: routes('main'), other: routes('other', 'x') } });
    expect(envoy.responses).toHaveLength(1);
    envoy.subscribe('routes', ['other']);
    expect(envoy.responses).toHaveLength(2);
    envoy.accept('routes');
    envoy.unsubscribe('routes', ['other']);
    ads.setResources({ routes: { main: routes('main'), other: routes('other', 'y') } });
    expect(envoy.responses).toHaveLength(2);
  });

  test('a missing secret holds up nothing else', () => {
    const ads = new AggregatedDiscovery();
    ads.setResources({ clusters: { a: cluster('a') }, secrets: {}, listeners: { l: listener('l') } });
    const envoy = open(ads);
    envoy.subscribe('clusters');
    envoy.accept('clusters');
    envoy.subscribe('secrets', ['key']);
    // Delta has to say that there is none; state of the world has no way to.
    const said = delta ? [{ kind: 'secrets', count: 0, removed: ['key'] }] : [];
    expect(envoy.responses.filter(({ kind }) => kind === 'secrets')).toMatchObject(said);
    if (delta) envoy.accept('secrets');
    envoy.subscribe('listeners');
    expect(envoy.responses.at(-1)).toMatchObject({ kind: 'listeners', count: 1 });
    envoy.accept('listeners');
    ads.setResources({ secrets: { key: secret('key', 'value') } });
    expect(envoy.responses.at(-1)).toMatchObject({ kind: 'secrets', count: 1 });
  });

  test('a refused change is reported, is not repeated, and does not stop the next one', async () => {
    const ads = new AggregatedDiscovery({ now: () => 1234 });
    ads.setResources({ listeners: { l: listener('l', 80) } });
    const envoy = open(ads);
    envoy.subscribe('listeners');
    envoy.accept('listeners');
    const good = envoy.responses[0]?.version;

    const { generation } = ads.setResources({ listeners: { l: listener('l', 81) } });
    envoy.refuse('listeners', 'port taken');
    await expect(ads.awaitAcknowledged(['listeners'], generation, 0)).resolves.toEqual({
      acknowledged: [],
      nacked: [{ node: 'envoy-1', kind: 'listeners', message: 'port taken' }],
      timedOut: [],
    });
    const again = ads.setResources({ listeners: { l: listener('l', 81) } });
    expect(envoy.responses).toHaveLength(2);
    await expect(ads.awaitAcknowledged(['listeners'], again.generation, 0)).resolves.toMatchObject({
      nacked: [{ message: 'port taken' }],
    });
    expect(ads.status()[0]).toMatchObject({
      node: 'envoy-1',
      protocol,
      connectedAt: 1234,
      kinds: {
        listeners: {
          state: 'refused',
          acknowledgedVersion: good,
          lastNack: { message: 'port taken', at: 1234 },
        },
      },
    });

    const fixed = ads.setResources({ listeners: { l: listener('l', 82) } });
    expect(envoy.responses).toHaveLength(3);
    envoy.accept('listeners');
    await expect(ads.awaitAcknowledged(['listeners'], fixed.generation, 0)).resolves.toMatchObject({
      acknowledged: ['envoy-1'],
    });
    expect(ads.status()[0]?.kinds.listeners).toMatchObject({
      state: 'acknowledged',
      lastNack: { message: 'port taken' },
    });
  });

  test('going back to the content before a refusal is sent and accepted', () => {
    const ads = new AggregatedDiscovery();
    ads.setResources({ listeners: { l: listener('l', 80) } });
    const envoy = open(ads);
    envoy.subscribe('listeners');
    envoy.accept('listeners');
    const restore = ads.checkpoint();
    ads.setResources({ listeners: { l: listener('l', 81) } });
    envoy.refuse('listeners', 'no');
    restore();
    expect(envoy.responses[2]?.version).toBe(envoy.responses[0]?.version);
    envoy.accept('listeners');
    expect(ads.status()[0]?.kinds.listeners?.state).toBe('acknowledged');
  });

  test('a stale nonce acknowledges nothing', async () => {
    const ads = new AggregatedDiscovery();
    ads.setResources({ clusters: { a: cluster('a') } });
    const envoy = open(ads);
    envoy.subscribe('clusters');
    envoy.accept('clusters');
    const { generation } = ads.setResources({ clusters: { a: cluster('a', 2) } });
    envoy.acceptStale('clusters', envoy.responses[0]?.nonce ?? '');
    await expect(ads.awaitAcknowledged(['clusters'], generation, 0)).resolves.toMatchObject({
      timedOut: ['envoy-1'],
    });
    envoy.accept('clusters');
    await expect(ads.awaitAcknowledged(['clusters'], generation, 0)).resolves.toMatchObject({
      acknowledged: ['envoy-1'],
      timedOut: [],
    });
  });

  test('changes during an unanswered response are sent as one when it is answered', () => {
    const ads = new AggregatedDiscovery();
    ads.setResources({ clusters: { a: cluster('a') } });
    const envoy = open(ads);
    envoy.subscribe('clusters');
    ads.setResources({ clusters: { a: cluster('a', 2) } });
    ads.setResources({ clusters: { a: cluster('a', 3) } });
    expect(envoy.responses).toHaveLength(1);
    envoy.accept('clusters');
    expect(envoy.responses).toHaveLength(2);
    envoy.accept('clusters');
    expect(envoy.responses).toHaveLength(2);
  });

  test('listeners and routes wait for the clusters they name', () => {
    const ads = new AggregatedDiscovery();
    ads.setResources({
      clusters: { a: cluster('a') },
      listeners: { l: listener('l') },
      routes: { main: routes('main') },
    });
    const envoy = open(ads);
    envoy.subscribe('clusters');
    envoy.accept('clusters');
    envoy.subscribe('listeners');
    envoy.accept('listeners');
    envoy.subscribe('routes', ['main']);
    envoy.accept('routes');
    envoy.responses.length = 0;
    ads.setResources({
      routes: { main: routes('main', 'new') },
      listeners: { l: listener('l', 81) },
      clusters: { a: cluster('a'), b: cluster('b') },
    });
    const kinds = () => envoy.responses.map(({ kind }) => kind);
    expect(kinds()).toEqual(['clusters']);
    envoy.accept('clusters');
    expect(kinds()).toEqual(['clusters', 'listeners']);
    envoy.accept('listeners');
    expect(kinds()).toEqual(['clusters', 'listeners', 'routes']);
  });

  test('sends nothing while the transport is full, and everything due afterwards', () => {
    const ads = new AggregatedDiscovery();
    let writable = false;
    ads.setResources({ clusters: { a: cluster('a') } });
    const envoy = open(ads, { writable: () => writable });
    envoy.subscribe('clusters');
    envoy.accept('clusters');
    ads.setResources({ clusters: { a: cluster('a', 2) } });
    expect(envoy.responses).toHaveLength(1);
    writable = true;
    envoy.resume();
    expect(envoy.responses).toHaveLength(2);
  });

  test('a reconnect with the same content gets nothing, with older content what differs', () => {
    const cache = new ResourceCache();
    const ads = new AggregatedDiscovery({ cache });
    ads.setResources({ clusters: { a: cluster('a'), b: cluster('b') } });
    const held = [...(cache.get('clusters')?.values() ?? [])];
    const versions = delta
      ? Object.fromEntries(held.map(({ name, version }) => [name, version]))
      : { all: setVersion(held) };
    const same = open(ads);
    same.subscribe('clusters', [], versions);
    expect(same.responses).toEqual([]);
    expect(ads.status()[0]?.kinds.clusters?.state).toBe('acknowledged');

    const older = open(ads);
    older.subscribe('clusters', [], {
      ...versions,
      ...(delta ? { a: 'older', gone: '1' } : { all: 'older' }),
    });
    expect(older.responses).toMatchObject([delta ? { names: ['a'], removed: ['gone'] } : { count: 2 }]);
  });

  test('waits for every Envoy, not for one that leaves, and gives up after the time given', async () => {
    const ads = new AggregatedDiscovery();
    ads.setResources({ clusters: { a: cluster('a') } });
    const quick = open(ads, { node: 'quick' });
    const leaving = open(ads, { node: 'leaving' });
    const slow = open(ads, { node: 'slow' });
    for (const envoy of [quick, leaving, slow]) envoy.subscribe('clusters');
    const generation = 1;
    await expect(ads.awaitAcknowledged(['clusters'], generation, 1)).resolves.toMatchObject({
      acknowledged: [],
      timedOut: ['quick', 'leaving', 'slow'],
    });
    const answered = ads.awaitAcknowledged(['clusters'], generation, 60_000);
    quick.accept('clusters');
    slow.accept('clusters');
    leaving.close();
    await expect(answered).resolves.toEqual({ acknowledged: ['quick', 'slow'], nacked: [], timedOut: [] });
    expect(ads.status().map(({ node }) => node)).toEqual(['quick', 'slow']);
  });

  test('a type that Limen does not serve is left alone', () => {
    const ads = new AggregatedDiscovery();
    const envoy = open(ads);
    ads.setResources({ clusters: {} });
    envoy.subscribe('endpoints', ['x']);
    expect(envoy.responses).toEqual([]);
  });
});

describe('delta only', () => {
  test('a name asked for again is sent again, a wildcard that is given up stops what it covered', () => {
    const ads = new AggregatedDiscovery();
    ads.setResources({ clusters: { a: cluster('a'), b: cluster('b') } });
    const envoy = scriptedDeltaEnvoy(ads);
    envoy.subscribe('clusters', ['*', 'a']);
    envoy.accept('clusters');
    envoy.subscribe('clusters', ['a']);
    expect(envoy.responses[1]).toMatchObject({ names: ['a'] });
    envoy.accept('clusters');
    envoy.unsubscribe('clusters', ['*']);
    ads.setResources({ clusters: { a: cluster('a', 2), b: cluster('b', 2) } });
    expect(envoy.responses[2]).toMatchObject({ names: ['a'], removed: [] });
  });
});

describe('publishing', () => {
  test('is all or nothing, and names every fault', () => {
    const ads = new AggregatedDiscovery();
    ads.setResources({ clusters: { a: cluster('a') } });
    const envoy = scriptedDeltaEnvoy(ads);
    envoy.subscribe('clusters');
    const publish = () =>
      ads.setResources({
        clusters: {
          a: cluster('a', 5),
          bad: { ...cluster('bad'), type: 'STATISCH', nonsense: 1 },
          wrong: cluster('other'),
        },
        listeners: { l: cluster('l') },
      });
    expect(publish).toThrow(EncodeError);
    expect(publish).toThrow(/clusters\.bad\.nonsense: no such field/);
    expect(publish).toThrow(/clusters\.bad\.type: expected one of STATIC/);
    expect(publish).toThrow(/clusters\.wrong\.name: has to be the name/);
    expect(publish).toThrow(/listeners\.l: "@type" has to be/);
    envoy.accept('clusters');
    expect(envoy.responses).toHaveLength(1);
  });
});
