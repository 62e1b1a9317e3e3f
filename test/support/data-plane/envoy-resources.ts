import { ERROR_BODIES, placementOf } from '../../../src/commands/envoy-resources.ts';
import type { EnvoyCapabilities } from '../../../src/core/capabilities.ts';
import type { Snapshot } from '../../../src/core/snapshot.ts';
import { foreignHeadersOf } from '../../../src/providers/index.ts';
import { PROCESSOR_CLUSTER } from '../../../src/xds/build/filters.ts';
import { buildXds } from '../../../src/xds/build/index.ts';
import type { XdsResources } from '../../../src/xds/resource.ts';
import { secretsOf, type DataPlaneConfiguration } from './configuration.ts';

/** Where the Envoy of a data plane finds its workers, and clients find it. */
export interface EnvoySurroundings {
  readonly capabilities: EnvoyCapabilities;
  readonly sockets: readonly string[];
  readonly port: number;
  readonly witnessSocket: string | undefined;
}

const HEALTH_CHECK_PATIENCE = '15s';

/** What Envoy gets of a configuration. */
export function xdsOf(
  configuration: DataPlaneConfiguration,
  snapshot: Snapshot,
  { capabilities, sockets, port, witnessSocket }: EnvoySurroundings,
): XdsResources {
  const { backends = {}, backendAddresses } = configuration;
  const resources = buildXds(snapshot, {
    address: '127.0.0.1',
    port,
    processorSockets: sockets,
    witnessSocket,
    capabilities,
    errorBodies: ERROR_BODIES,
    placementOf,
    foreignHeadersOf: (provider) => foreignHeadersOf(provider.type),
    systemCaFile: '/etc/ssl/certs/ca-certificates.crt',
    secrets: secretsOf(configuration),
    backendAddresses: {
      ...Object.fromEntries(
        Object.entries(backends).map(([name, { url }]) => [name, [new URL(url).hostname]]),
      ),
      ...backendAddresses,
    },
  });
  return { ...resources, clusters: withPatience(resources.clusters) };
}

/**
 * A worker that is busy for a second, with a large body or in the process of a test that is, or that has no processor
 * so long, must not be taken for one that is stuck. Those are the system tests' matter.
 */
function withPatience(clusters: XdsResources['clusters']): XdsResources['clusters'] {
  const workers = clusters[PROCESSOR_CLUSTER];
  const checks: unknown = workers?.['health_checks'];
  if (workers === undefined || !Array.isArray(checks)) throw new Error('expected health checks of workers');
  const patient = checks.map((check: unknown) => ({ ...Object(check), timeout: HEALTH_CHECK_PATIENCE }));
  return { ...clusters, [PROCESSOR_CLUSTER]: { ...workers, health_checks: patient } };
}
