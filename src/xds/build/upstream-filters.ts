import { isIP } from 'node:net';
import { z } from 'zod';
import {
  CONTEXT_NAMESPACE,
  CREDENTIAL_HEADERS,
  IDENTITY_FIELD,
  IDENTITY_HEADERS,
  plainCluster,
  TRY_ID_HEADER,
  VERDICT_HEADER,
} from '../../core/gateway-names.ts';
import type { SnapshotProvider } from '../../core/snapshot.ts';
import { typed, type ProtoMessage, type TypedMessage } from '../resource.ts';

/** How a provider wants its credential, told by the provider's own folder. */
export type CredentialPlacement =
  /** As a header: its name, and the text before the credential. */
  | { readonly kind: 'header'; readonly header: string; readonly prefix: string }
  /** As a signature of each request (AWS Signature Version 4). */
  | { readonly kind: 'sigv4'; readonly service: string };

/** Name of the SDS secret with the credential of a provider, or of whatever else has this cluster. */
export function credentialSecret(cluster: string): string {
  return `${cluster}/credential`;
}

/** A credential as Envoy's generic secret. */
export function credentialResource(cluster: string, value: string): TypedMessage {
  return typed('envoy.extensions.transport_sockets.tls.v3.Secret', {
    name: credentialSecret(cluster),
    generic_secret: { secret: { inline_string: value } },
  });
}

/** What the Host header of requests to a provider is: its port is named where it is not the scheme's own. */
export function authority(provider: Pick<SnapshotProvider, 'scheme' | 'host' | 'port'>): string {
  const host = isIP(provider.host) === 6 ? `[${provider.host}]` : provider.host;
  const usualPort = provider.scheme === 'https' ? 443 : 80;
  return provider.port === usualPort ? host : `${host}:${provider.port}`;
}

export function removePrefix(prefix: string): ProtoMessage {
  return { remove_on_match: { key_matcher: { prefix } } };
}

/**
 * Tells an upstream that wants to know who asks, as far as it is known; what an earlier try told another one is taken out
 * first. Clients cannot set these headers: the listener removes them.
 */
export function identityMutations(asked: boolean): ProtoMessage[] {
  const names = Object.entries(IDENTITY_HEADERS);
  return [
    ...names.map(([header]) => ({ remove: header })),
    ...names.flatMap(([header, field]) =>
      asked ? [setHeader(header, `%DYNAMIC_METADATA(${CONTEXT_NAMESPACE}:${IDENTITY_FIELD}:${field})%`)] : [],
    ),
  ];
}

/** Headers that a signer adds to those that are there: what an earlier try was signed with must not stay. */
const SIGNATURE_PREFIX = 'x-amz-';

/**
 * Takes out everything that must not leave: every credential header, those of other providers (a client may send
 * them, and what one try sets stays for the next), Envoy's and Limen's own. In their place the request's id, so that
 * a try can be told from others in Envoy's log and in the provider's.
 */
export function cleanRequestFilter(
  foreignHeaders: readonly string[],
  identityHeaders: boolean,
): ProtoMessage {
  return {
    name: 'limen.clean',
    typed_config: typed('envoy.extensions.filters.http.header_mutation.v3.HeaderMutation', {
      mutations: {
        request_mutations: [
          ...[...new Set([...CREDENTIAL_HEADERS, ...foreignHeaders])].map((header) => ({ remove: header })),
          { remove: 'x-request-id' },
          { remove: 'cookie' },
          { remove: 'proxy-authorization' },
          { remove: 'x-http-method-override' },
          // Accounts belong to a credential, and the credential here is the gateway's.
          { remove: 'openai-organization' },
          { remove: 'openai-project' },
          { remove: 'x-goog-user-project' },
          // It could leave the usage out of an answer.
          { remove: 'x-goog-fieldmask' },
          removePrefix(SIGNATURE_PREFIX),
          removePrefix('x-envoy-'),
          removePrefix('x-forwarded-'),
          removePrefix('x-limen-'),
          setHeader(TRY_ID_HEADER, `%DYNAMIC_METADATA(${CONTEXT_NAMESPACE}:id)%`),
          ...identityMutations(identityHeaders),
        ],
      },
    }),
  };
}

export function setHeader(key: string, value: string): ProtoMessage {
  return { append: { header: { key, value }, append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' } };
}

/**
 * Takes out of a provider's answer what could pass for ours, and its cookies; says for the router what it answered.
 * Response filters run in reverse, so this one stands last: before the upstream leg may change the status.
 */
export function cleanResponseFilter(): ProtoMessage {
  return {
    name: 'limen.clean_response',
    typed_config: typed('envoy.extensions.filters.http.header_mutation.v3.HeaderMutation', {
      mutations: {
        response_mutations: [
          removePrefix('x-limen-'),
          removePrefix('x-envoy-'),
          { remove: 'set-cookie' },
          { remove: 'openai-organization' },
          { remove: 'anthropic-organization-id' },
          // About the provider's own address, never about the gateway's.
          { remove: 'alt-svc' },
          { remove: 'strict-transport-security' },
          // Which browsers may read the answer is the gateway's to say.
          removePrefix('access-control-'),
          // A provider asks the gateway for its credential, never the client.
          { remove: 'www-authenticate' },
          setHeader(VERDICT_HEADER, '%RESP(:status)%:%RESP(retry-after)%'),
        ],
      },
    }),
  };
}

/**
 * What gives each try the provider's credential; none where it has none.
 *
 * @param secret the credential in clear, for those that Envoy takes no other way
 */
export function credentialFilters(
  provider: SnapshotProvider,
  placement: CredentialPlacement,
  secret: string | undefined,
): ProtoMessage[] {
  if (!provider.hasCredential) return [];
  return placement.kind === 'header'
    ? [headerCredentialFilter(plainCluster(provider.name), placement)]
    : signingFilters(provider, placement.service, secret);
}

/** Puts the credential of a cluster into a header, in place of whatever is there. */
export function headerCredentialFilter(
  cluster: string,
  { header, prefix }: { readonly header: string; readonly prefix: string },
): ProtoMessage {
  return {
    name: 'limen.credential',
    typed_config: typed('envoy.extensions.filters.http.credential_injector.v3.CredentialInjector', {
      overwrite: true,
      credential: {
        name: 'generic',
        typed_config: typed('envoy.extensions.http.injected_credentials.generic.v3.Generic', {
          credential: {
            name: credentialSecret(cluster),
            sds_config: { ads: {}, resource_api_version: 'V3' },
          },
          header,
          ...(prefix === '' ? {} : { header_value_prefix: prefix }),
        }),
      },
    }),
  };
}

const signingKeySchema = z.object({
  accessKeyId: z.string().min(1),
  secretAccessKey: z.string().min(1),
  sessionToken: z.string().optional(),
});

/**
 * Signs each try. Envoy takes these credentials inline alone, no SDS; its config dump has secret and session token
 * redacted. Where there is no key that can be read, requests go unsigned, and AWS refuses them.
 */
function signingFilters(
  provider: SnapshotProvider,
  service: string,
  credential: string | undefined,
): ProtoMessage[] {
  const key = readSigningKey(credential);
  if (key === undefined) return [];
  return [
    {
      name: 'limen.signature',
      typed_config: typed('envoy.extensions.filters.http.aws_request_signing.v3.AwsRequestSigning', {
        service_name: service,
        region: provider.options['region'] ?? '',
        // Envoy writes the provider's host over the client's when it has a connection, which may be after this.
        host_rewrite: authority(provider),
        credential_provider: {
          // Without it Envoy would also ask the machine and its environment.
          custom_credential_provider_chain: true,
          inline_credential: {
            access_key_id: key.accessKeyId,
            secret_access_key: key.secretAccessKey,
            ...(key.sessionToken === undefined ? {} : { session_token: key.sessionToken }),
          },
        },
      }),
    },
  ];
}

function readSigningKey(text: string | undefined): z.output<typeof signingKeySchema> | undefined {
  if (text === undefined) return undefined;
  try {
    return signingKeySchema.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}
