import { ProtocolFiles, type Codec } from '../../envoy-protocol/load.ts';
import type { EncodedAny } from '../encode/encode.ts';

/** Who asks; only the first request of a stream carries it. */
export interface XdsNode {
  readonly id: string;
}

/** Why Envoy refused a response. */
export interface ErrorDetail {
  readonly code: number;
  readonly message: string;
}

/** A state-of-the-world request: a subscription, and the answer to the response that `responseNonce` names. */
export interface DiscoveryRequest {
  readonly versionInfo: string;
  readonly node: XdsNode | null;
  readonly resourceNames: readonly string[];
  readonly typeUrl: string;
  readonly responseNonce: string;
  readonly errorDetail: ErrorDetail | null;
}

export interface DiscoveryResponse {
  readonly versionInfo: string;
  readonly resources: readonly EncodedAny[];
  readonly typeUrl: string;
  readonly nonce: string;
}

export interface DeltaDiscoveryRequest {
  readonly node: XdsNode | null;
  readonly typeUrl: string;
  readonly resourceNamesSubscribe: readonly string[];
  readonly resourceNamesUnsubscribe: readonly string[];
  readonly initialResourceVersions: Readonly<Record<string, string>>;
  readonly responseNonce: string;
  readonly errorDetail: ErrorDetail | null;
}

export interface DeltaDiscoveryResponse {
  readonly systemVersionInfo: string;
  readonly resources: readonly {
    readonly name: string;
    readonly version: string;
    readonly resource: EncodedAny;
  }[];
  readonly removedResources: readonly string[];
  readonly typeUrl: string;
  readonly nonce: string;
}

export interface AdsProtocol {
  readonly discoveryRequest: Codec<DiscoveryRequest>;
  readonly discoveryResponse: Codec<DiscoveryResponse>;
  readonly deltaDiscoveryRequest: Codec<DeltaDiscoveryRequest>;
  readonly deltaDiscoveryResponse: Codec<DeltaDiscoveryResponse>;
}

const SERVICE = '/envoy.service.discovery.v3.AggregatedDiscoveryService';
export const STATE_OF_THE_WORLD_PATH = `${SERVICE}/StreamAggregatedResources`;
export const DELTA_PATH = `${SERVICE}/DeltaAggregatedResources`;

/** Reads proto/limen/discovery.proto; a few milliseconds, once at start. */
export function loadAdsProtocol(): AdsProtocol {
  const files = new ProtocolFiles('discovery.proto');
  return {
    discoveryRequest: files.codec('limen.discovery.DiscoveryRequest'),
    discoveryResponse: files.codec('limen.discovery.DiscoveryResponse'),
    deltaDiscoveryRequest: files.codec('limen.discovery.DeltaDiscoveryRequest'),
    deltaDiscoveryResponse: files.codec('limen.discovery.DeltaDiscoveryResponse'),
  };
}
