import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { AggregatedDiscovery } from '../../src/xds/ads/aggregated-discovery.ts';
import { OrderedPublisher } from '../../src/xds/ads/ordered-publisher.ts';
import { kindOfType, typeUrlOf, type ResourceSets } from '../../src/xds/ads/resource-cache.ts';
import { AdsServer } from '../../src/xds/ads/server.ts';
import type { TypedJson } from '../../src/xds/encode/encode.ts';
import {
  eventually,
  freePort,
  get,
  removeFolder,
  RunningEnvoy,
  temporaryFolder,
} from '../support/running-envoy.ts';

const HCM =
  'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager';
const ADS = { ads: {}, resource_api_version: 'V3' };

function listener(port: number, statPrefix = 'gateway'): TypedJson {
  return {
    '@type': typeUrlOf('listeners'),
    name: 'gateway',
    address: { socket_address: { address: '127.0.0.1', port_value: port } },
    filter_chains: [
      {
        filters: [
          {
            name: 'http',
            typed_config: {
              '@type': HCM,
              stat_prefix: statPrefix,
              rds: { route_config_name: 'main', config_source: ADS },
              http_filters: [
                {
                  name: 'envoy.filters.http.router',
                  typed_config: {
                    '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router',
                  },
                },
              ],
            },
          },
        ],
      },
    ],
  };
}

function routes(text: string): TypedJson {
  return {
    '@type': typeUrlOf('routes'),
    name: 'main',
    virtual_hosts: [
      {
        name: 'all',
        domains: ['*'],
        routes: [{ match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: text } } }],
      },
    ],
  };
}

function cluster(name: string): TypedJson {
  return { '@type': typeUrlOf('clusters'), name, type: 'STATIC', connect_timeout: '1s' };
}

/** A cluster whose TLS context names a secret. */
function clusterWithSecret(name: string, secret: string): TypedJson {
  return {
    ...cluster(name),
    transport_socket: {
      name: 'envoy.transport_sockets.tls',
      typed_config: {
        '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext',
        common_tls_context: { validation_context_sds_secret_config: { name: secret, sds_config: ADS } },
      },
    },
  };
}

/** ADS that notes the kinds of the responses it sends. */
class NotingDiscovery extends AggregatedDiscovery {
  readonly sent: (string | undefined)[] = [];

  override openDelta(...[send]: Parameters<AggregatedDiscovery['openDelta']>) {
    return super.openDelta((response) => {
      this.sent.push(kindOfType(response.typeUrl));
      return send(response);
    });
  }

  override openStateOfTheWorld(...[send]: Parameters<AggregatedDiscovery['openStateOfTheWorld']>) {
    return super.openStateOfTheWorld((response) => {
      this.sent.push(kindOfType(response.typeUrl));
      return send(response);
    });
  }
}

describe.each(['DELTA_GRPC', 'GRPC'])('a real Envoy over %s', (apiType) => {
  let folder: string;
  let port: number;
  let ads: NotingDiscovery;
  let server: AdsServer;
  let envoy: RunningEnvoy;

  const adsAddress = () => `unix:${join(folder, 'ads.sock')}`;
  const startServer = async () => {
    ads = new NotingDiscovery();
    server = await AdsServer.start(ads, { address: adsAddress() });
  };
  const resources = (text: string): ResourceSets => ({
    clusters: { a: cluster('a') },
    secrets: {},
    listeners: { gateway: listener(port) },
    routes: { main: routes(text) },
  });
  const answer = async () => (await get({ port }, '/')).body;
  const answers = async (text: string) =>
    await eventually(async () => ((await answer()) === text ? performance.now() : undefined));
  const everythingAcknowledged = async (generation: number) =>
    await ads.awaitAcknowledged(['clusters', 'listeners', 'routes'], generation, 20_000);

  beforeAll(async () => {
    folder = await temporaryFolder();
    port = await freePort();
    const adminSocket = join(folder, 'admin.sock');
    await startServer();
    const connect = {
      'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
        '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
        explicit_http_config: { http2_protocol_options: {} },
      },
    };
    envoy = await RunningEnvoy.start(
      folder,
      {
        node: { id: 'test-envoy', cluster: 'test' },
        admin: { address: { pipe: { path: adminSocket } } },
        dynamic_resources: {
          ads_config: {
            api_type: apiType,
            transport_api_version: 'V3',
            grpc_services: [
              {
                envoy_grpc: {
                  cluster_name: 'ads',
                  retry_policy: { retry_back_off: { base_interval: '0.05s', max_interval: '0.2s' } },
                },
              },
            ],
          },
          cds_config: ADS,
          lds_config: ADS,
        },
        static_resources: {
          clusters: [
            {
              name: 'ads',
              type: 'STATIC',
              typed_extension_protocol_options: connect,
              load_assignment: {
                cluster_name: 'ads',
                endpoints: [
                  { lb_endpoints: [{ endpoint: { address: { pipe: { path: join(folder, 'ads.sock') } } } }] },
                ],
              },
            },
          ],
        },
      },
      adminSocket,
    );
  });
  afterAll(async () => {
    await envoy.stop();
    server.stop();
    await removeFolder(folder);
  });
  beforeEach(async () => {
    ads.setResources(resources('base'));
    await answers('base');
    await everythingAcknowledged(0);
    ads.sent.length = 0;
  });
  afterEach((context) => {
    if (context.task.result?.state === 'fail') console.error(envoy.log);
  });

  test('a changed route is in force within a second and is all that is sent', async () => {
    const took: number[] = [];
    for (const text of ['changed', 'changed again', 'changed once more']) {
      ads.sent.length = 0;
      const start = performance.now();
      const { generation } = ads.setResources(resources(text));
      took.push((await answers(text)) - start);
      const report = await everythingAcknowledged(generation);
      expect(report).toEqual({ acknowledged: ['test-envoy'], nacked: [], timedOut: [] });
      expect(ads.sent).toEqual(['routes']);
    }
    // The fastest, because the machine may be busy with something else.
    expect(Math.min(...took)).toBeLessThan(1000);
  });

  test('what did not change is not sent', async () => {
    const { generation } = ads.setResources(resources('base'));
    const report = await everythingAcknowledged(generation);
    expect(report.acknowledged).toEqual(['test-envoy']);
    expect(ads.sent).toEqual([]);
  });

  test('a refused listener is reported with Envoy’s message, the old one answers on, a later one is taken', async () => {
    const { generation } = ads.setResources({ listeners: { gateway: listener(port, '') } });
    const report = await everythingAcknowledged(generation);
    expect(report.acknowledged).toEqual([]);
    expect(report.nacked).toMatchObject([{ node: 'test-envoy', kind: 'listeners' }]);
    expect(report.nacked[0]?.message).toMatch(/StatPrefix/);
    expect(await answer()).toBe('base');
    const status = ads.status().find(({ node }) => node === 'test-envoy');
    expect(status?.kinds.listeners).toMatchObject({ state: 'refused' });
    expect(status?.kinds.listeners?.lastNack?.message).toMatch(/StatPrefix/);

    const repaired = ads.setResources(resources('repaired'));
    expect((await everythingAcknowledged(repaired.generation)).acknowledged).toEqual(['test-envoy']);
    await answers('repaired');
  });

  test('clusters arrive before the listeners and routes of the same publication', async () => {
    const { generation } = ads.setResources({
      routes: { main: routes('ordered') },
      listeners: { gateway: listener(port, 'renamed') },
      clusters: { a: cluster('a'), b: cluster('b') },
    });
    await everythingAcknowledged(generation);
    expect(ads.sent).toEqual(['clusters', 'listeners', 'routes']);
    await answers('ordered');
  });

  test('removals come after the grace; a refused configuration leaves the one before in force', async () => {
    const publisher = new OrderedPublisher(ads, { acknowledgeTimeoutMs: 20_000, graceMs: 50 });
    const active = () => envoy.stat('cluster_manager.active_clusters');
    const before = await active();
    const steps: string[] = [];
    const added = await publisher.publish(
      { ...resources('added'), clusters: { b: cluster('b') } },
      async () => {
        steps.push(`workers after ${ads.sent.join()}`);
      },
    );
    expect(added).toEqual({ state: 'in force', acknowledged: ['test-envoy'], timedOut: [] });
    expect(steps).toEqual(['workers after clusters']);
    await answers('added');
    await eventually(async () => ((await active()) === before ? true : undefined));
    expect(ads.sent).toEqual(['clusters', 'routes', 'clusters']);

    const refused = await publisher.publish(
      { ...resources('refused'), listeners: { gateway: listener(port, '') } },
      async () => undefined,
    );
    expect(refused).toMatchObject({ state: 'refused', nacked: [{ kind: 'listeners' }] });
    await answers('added');
    publisher.stop();
  });

  test('a secret that is missing holds up nobody else, and arrives when it is there', async () => {
    const clusters = { a: cluster('a'), tls: clusterWithSecret('tls', 'ca') };
    const start = performance.now();
    ads.setResources({ ...resources('beside a missing secret'), clusters });
    await answers('beside a missing secret');
    // Envoy itself would wait 15 seconds for it.
    expect(performance.now() - start).toBeLessThan(10_000);
    ads.setResources({
      secrets: {
        ca: {
          '@type': typeUrlOf('secrets'),
          name: 'ca',
          validation_context: { trust_chain_verification: 'ACCEPT_UNTRUSTED' },
        },
      },
    });
    await eventually(async () => {
      const { body } = await envoy.admin('/config_dump?resource=dynamic_active_secrets');
      return body.includes('ACCEPT_UNTRUSTED') ? true : undefined;
    });
  });

  test('Envoy serves on without the control plane, and a new one sends it only what differs', async () => {
    const { generation } = ads.setResources(resources('kept'));
    await everythingAcknowledged(generation);
    server.stop();
    await eventually(async () =>
      (await envoy.stat('control_plane.connected_state')) === 0 ? true : undefined,
    );
    expect(await answer()).toBe('kept');

    await startServer();
    await eventually(() => (ads.status().length > 0 ? true : undefined), 60_000);
    // Connected to a control plane that has not compiled anything yet.
    expect(await answer()).toBe('kept');
    const same = ads.setResources(resources('kept'));
    expect((await everythingAcknowledged(same.generation)).acknowledged).toEqual(['test-envoy']);
    expect(await answer()).toBe('kept');
    expect(ads.sent).toEqual([]);
    expect(ads.status()[0]?.kinds.routes?.state).toBe('acknowledged');

    ads.setResources(resources('after'));
    await answers('after');
    expect(ads.sent).toEqual(['routes']);
  });
});
