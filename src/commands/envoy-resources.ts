import { existsSync } from 'node:fs';
import type { Settings } from '../config/env.ts';
import type { Configuration } from '../control/publisher.ts';
import { ALL_CAPABILITIES, LEAST_CAPABILITIES } from '../core/capabilities.ts';
import { LimenError } from '../core/errors.ts';
import { BACKEND_ROUTE, BACKENDS_PATH } from '../core/gateway-names.ts';
import type { SnapshotProvider } from '../core/snapshot.ts';
import type { ClientFormatName } from '../formats/hub.ts';
import { FORMATS } from '../formats/index.ts';
import { foreignHeadersOf, providerOf } from '../providers/index.ts';
import type { CredentialPlacement } from '../providers/provider.ts';
import type { Endpoints } from '../up/endpoints.ts';
import { buildXds } from '../xds/build/index.ts';
import { BACKEND_MESSAGES, REQUEST_ID_PLACEHOLDER, type ErrorBodies } from '../xds/build/local-replies.ts';

/** Signs of life of an open request within its lease: several may be lost before it counts as gone. */
const REPORTS_PER_LEASE = 8;

/** Where Debian, Red Hat, Alpine and macOS keep the authorities that the system trusts. */
const SYSTEM_CA_FILES = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/cert.pem',
];

function errorBodies(format: ClientFormatName, pathPrefix?: string): ErrorBodies {
  return {
    format,
    pathPrefix,
    body: (code, message) =>
      FORMATS[format].encodeError(new LimenError(code, message), REQUEST_ID_PLACEHOLDER).toString('utf8'),
  };
}

/** What Envoy answers itself, in the shape of the API that was asked. */
export const ERROR_BODIES: readonly ErrorBodies[] = [
  errorBodies('messages', '/v1/messages'),
  errorBodies('responses', '/v1/responses'),
  errorBodies('gemini', '/v1beta'),
  { ...errorBodies('chat', BACKENDS_PATH), format: BACKEND_ROUTE, messages: BACKEND_MESSAGES },
  errorBodies('chat'),
];

/** Bedrock takes a bearer token in place of a signature, where that is what its credential is. */
export function placementOf({ type, options }: SnapshotProvider): CredentialPlacement {
  return options['authentication'] === 'bearer'
    ? { kind: 'header', header: 'authorization', prefix: 'Bearer ' }
    : providerOf(type).credential;
}

/** What Envoy is told for a configuration. */
export function xdsBuilder(
  settings: Settings,
  endpoints: Endpoints,
): (configuration: Configuration) => ReturnType<typeof buildXds> {
  const systemCaFile = SYSTEM_CA_FILES.find((file) => existsSync(file)) ?? SYSTEM_CA_FILES[0] ?? '';
  return ({ snapshot, secrets, listenerCertificate, backendAddresses }) =>
    buildXds(snapshot, {
      address: settings.gatewayAddress,
      port: settings.gatewayPort,
      processorSockets: endpoints.sockets.processors,
      witnessSocket: endpoints.sockets.witness,
      capabilities: settings.envoyFeatures === 'all' ? ALL_CAPABILITIES : LEAST_CAPABILITIES,
      errorBodies: ERROR_BODIES,
      placementOf,
      foreignHeadersOf: ({ type }) => foreignHeadersOf(type),
      openRequestReportSeconds: settings.leaseSeconds / REPORTS_PER_LEASE,
      systemCaFile,
      secrets,
      listenerCertificate,
      backendAddresses,
    });
}
