import type { EnvoyCapabilities } from '../../../src/core/capabilities.ts';
import { LimenError } from '../../../src/core/errors.ts';
import { BACKEND_ROUTE, BACKENDS_PATH } from '../../../src/core/gateway-names.ts';
import type { Snapshot } from '../../../src/core/snapshot.ts';
import type { ClientFormatName } from '../../../src/formats/hub.ts';
import { FORMATS } from '../../../src/formats/index.ts';
import { foreignHeadersOf, providerOf } from '../../../src/providers/index.ts';
import { PROCESSOR_CLUSTER } from '../../../src/xds/build/filters.ts';
import { buildXds } from '../../../src/xds/build/index.ts';
import {
  BACKEND_MESSAGES,
  REQUEST_ID_PLACEHOLDER,
  type ErrorBodies,
} from '../../../src/xds/build/local-replies.ts';
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
    errorBodies: [
      errorBodies('messages', '/v1/messages'),
      errorBodies('responses', '/v1/responses'),
      errorBodies('gemini', '/v1beta'),
      { ...errorBodies('chat', BACKENDS_PATH), format: BACKEND_ROUTE, messages: BACKEND_MESSAGES },
      errorBodies('chat'),
    ],
    placementOf: ({ type, options }) =>
      options['authentication'] === 'bearer'
        ? { kind: 'header', header: 'authorization', prefix: 'Bearer ' }
        : providerOf(type).credential,
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

function errorBodies(format: ClientFormatName, pathPrefix?: string): ErrorBodies {
  return {
    format,
    pathPrefix,
    body: (code, message) =>
      FORMATS[format].encodeError(new LimenError(code, message), REQUEST_ID_PLACEHOLDER).toString('utf8'),
  };
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
