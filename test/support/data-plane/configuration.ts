import { z } from 'zod';
import { backendSchema } from '../../../src/config/resources/backend.ts';
import { API_VERSION } from '../../../src/config/resources/common.ts';
import { gatewaySchema } from '../../../src/config/resources/gateway.ts';
import { anyResourceSchema } from '../../../src/config/resources/index.ts';
import { modelSchema } from '../../../src/config/resources/model.ts';
import { providerSchema } from '../../../src/config/resources/provider.ts';
import { backendCluster } from '../../../src/core/gateway-names.ts';
import type { Snapshot } from '../../../src/core/snapshot.ts';
import { buildSnapshot } from '../../../src/snapshot/build.ts';
import type { TestKey, WorkerState } from './worker.ts';

export type ProviderInput = Omit<z.input<typeof providerSchema>['spec'], 'credential'> & {
  /** What Envoy is to inject, in clear; for Bedrock also the parts of an access key as JSON. */
  readonly credential?: string;
};
export type ModelInput = z.input<typeof modelSchema>['spec'];
export type GatewayInput = z.input<typeof gatewaySchema>['spec'];
export type BackendInput = Omit<z.input<typeof backendSchema>['spec'], 'credential'> & {
  /** What Envoy is to inject, in clear. */
  readonly credential?: string;
};

/** The configuration of a data plane, as the resources' specifications say it. */
export interface DataPlaneConfiguration {
  readonly providers: Readonly<Record<string, ProviderInput>>;
  readonly models: Readonly<Record<string, ModelInput>>;
  readonly gateway?: GatewayInput;
  readonly keys?: readonly TestKey[];
  /** Users, tokens that are taken for verified, and what the limiter says. */
  readonly users?: WorkerState['users'];
  readonly tokens?: WorkerState['tokens'];
  readonly admission?: WorkerState['admission'];
  /** With which tokens are verified in earnest, and what is revoked. */
  readonly issuerKeys?: WorkerState['issuerKeys'];
  readonly revocations?: WorkerState['revocations'];
  /** Roles, teams, identity providers: resources of further kinds. */
  readonly others?: readonly { readonly kind: string; readonly name: string; readonly spec: object }[];
  readonly backends?: Readonly<Record<string, BackendInput>>;
  /** Where backends are, by name; absent: at the host of their URL, which must be an address then. */
  readonly backendAddresses?: Readonly<Record<string, readonly string[]>>;
}

/** The key that requests carry unless they say otherwise. It may use every model. */
export const CLIENT_KEY = 'tw-data-plane-0123456789abcdef';
export const DEFAULT_KEYS: readonly TestKey[] = [
  { key: CLIENT_KEY, id: 'key-1', user: 'ann', team: 'physics' },
];

/** What the workers get of it. */
export function compile(configuration: DataPlaneConfiguration): Snapshot {
  const resource = (kind: string, name: string, spec: object) => ({
    apiVersion: API_VERSION,
    kind,
    metadata: { name },
    spec,
  });
  return buildSnapshot([
    gatewaySchema.parse(resource('Gateway', 'default', configuration.gateway ?? {})),
    ...Object.entries(configuration.providers).map(([name, { credential, ...spec }]) =>
      providerSchema.parse(
        resource('Provider', name, {
          modelPrefixes: [],
          ...spec,
          ...(credential === undefined ? {} : { credential: credentialInput(credential) }),
        }),
      ),
    ),
    ...Object.entries(configuration.models).map(([name, spec]) =>
      modelSchema.parse(resource('Model', name, spec)),
    ),
    ...(configuration.others ?? []).map(({ kind, name, spec }) =>
      anyResourceSchema.parse(resource(kind, name, spec)),
    ),
    ...Object.entries(configuration.backends ?? {}).map(([name, { credential, ...spec }]) =>
      backendSchema.parse(
        resource('Backend', name, {
          ...spec,
          ...(credential === undefined ? {} : { credential: { value: credential } }),
        }),
      ),
    ),
  ]).snapshot;
}

/** The credential as a resource has it. */
function credentialInput(credential: string): object {
  if (!credential.startsWith('{')) return { value: credential };
  const parts: unknown = JSON.parse(credential);
  return Object.fromEntries(
    Object.entries(z.record(z.string(), z.string()).parse(parts)).map(([part, value]) => [part, { value }]),
  );
}

/** What Envoy is to inject, by provider, `PROVIDER@TENANT` or cluster of a backend. */
export function secretsOf({
  providers,
  backends = {},
}: DataPlaneConfiguration): Readonly<Record<string, string>> {
  return Object.fromEntries([
    ...Object.entries(providers).flatMap(([name, { credential }]) =>
      credential === undefined ? [] : [[name, credential]],
    ),
    ...Object.entries(providers).flatMap(([name, { tenants = {} }]) =>
      Object.entries(tenants).flatMap(([tenant, { credential }]) =>
        'value' in credential ? [[`${name}@${tenant}`, credential.value]] : [],
      ),
    ),
    ...Object.entries(backends).flatMap(([name, { credential }]) =>
      credential === undefined ? [] : [[backendCluster(name), credential]],
    ),
  ]);
}
