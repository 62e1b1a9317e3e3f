import {
  ATTEMPT_NAMESPACE,
  CONTEXT_NAMESPACE,
  LEG_METADATA,
  ORDER_NAMESPACE,
  PATIENCE_METADATA,
  RESPONSE_NAMESPACE,
  USAGE_NAMESPACE,
  WATCH_METADATA,
  type Leg,
  type NativeFormat,
} from '../../core/gateway-names.ts';
import { duration, typed, type ProtoMessage, type TypedMessage } from '../resource.ts';

/** The cluster of the workers. */
export const PROCESSOR_CLUSTER = 'limen_processor';
/** The control plane, which keeps the last of the access log for when a worker dies with it. */
export const WITNESS_CLUSTER = 'limen_witness';

/** Filter names, as per-route configuration refers to them. */
export const FRONT_FILTER = 'limen.front';
export const RESPONSE_FILTER = 'limen.response';
export const USAGE_FILTER = 'limen.usage';
export const REFUSAL_FILTER = 'limen.refusal';

const EXT_PROC = 'envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor';
export const EXT_PROC_PER_ROUTE = 'envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute';

/** Answers of the ext_proc API that are waited for; FULL_DUPLEX_STREAMED bodies have no such timer in Envoy. */
const MESSAGE_TIMEOUT_SECONDS = 10;

function extProc(
  leg: Leg,
  fields: ProtoMessage,
  metadata: Readonly<Record<string, string>> = {},
): TypedMessage {
  return typed(EXT_PROC, {
    grpc_service: {
      envoy_grpc: { cluster_name: PROCESSOR_CLUSTER },
      initial_metadata: grpcMetadata({ [LEG_METADATA]: leg, ...metadata }),
    },
    failure_mode_allow: false,
    status_on_error: { code: 'ServiceUnavailable' },
    message_timeout: duration(MESSAGE_TIMEOUT_SECONDS),
    mutation_rules: { allow_envoy: true, allow_all_routing: true },
    ...fields,
  });
}

function grpcMetadata(values: Readonly<Record<string, string>>): ProtoMessage[] {
  return Object.entries(values).map(([key, value]) => ({ key, value }));
}

/**
 * The front leg: reads headers and body in one pipelined exchange, answers once the body was read. It has no
 * part in the response: the worker ends the call, so a stream that runs for minutes holds no worker.
 */
export function frontFilter(): ProtoMessage {
  return {
    name: FRONT_FILTER,
    typed_config: extProc('front', {
      processing_mode: {
        request_header_mode: 'SEND',
        request_body_mode: 'FULL_DUPLEX_STREAMED',
        request_trailer_mode: 'SEND',
        response_header_mode: 'SKIP',
        response_body_mode: 'NONE',
        response_trailer_mode: 'SKIP',
      },
      allow_content_length_header: true,
      metadata_options: {
        receiving_namespaces: { untyped: [CONTEXT_NAMESPACE], typed: [ORDER_NAMESPACE] },
      },
    }),
  };
}

/**
 * Per-route configuration of paths whose requests are decided on by their head: Envoy carries the body alone, of
 * whatever size, and a WebSocket's both ways.
 */
export function decidedByHead(): TypedMessage {
  return typed(EXT_PROC_PER_ROUTE, {
    overrides: {
      processing_mode: {
        request_header_mode: 'SEND',
        request_body_mode: 'NONE',
        request_trailer_mode: 'SKIP',
        response_header_mode: 'SKIP',
        response_body_mode: 'NONE',
        response_trailer_mode: 'SKIP',
      },
    },
  });
}

/**
 * The response leg. It processes nothing unless a route says so: Envoy's own answers to requests that never came
 * to a route pass here too, and must not wait for a worker.
 */
export function responseFilter(): ProtoMessage {
  return {
    name: RESPONSE_FILTER,
    typed_config: extProc('response', {
      processing_mode: responseMode('SKIP', 'NONE'),
      response_attributes: ['xds.cluster_name', 'response.code_details'],
      metadata_options: {
        forwarding_namespaces: { untyped: [CONTEXT_NAMESPACE, ATTEMPT_NAMESPACE] },
        receiving_namespaces: { untyped: [RESPONSE_NAMESPACE] },
      },
    }),
  };
}

/**
 * Per-route configuration of routes whose answers a worker must see or change.
 *
 * @param patienceSeconds how long the worker waits for more of an answer (PATIENCE_METADATA)
 */
export function responseProcessed(patienceSeconds: number): TypedMessage {
  return typed(EXT_PROC_PER_ROUTE, {
    overrides: {
      processing_mode: responseMode('SEND', 'FULL_DUPLEX_STREAMED'),
      grpc_initial_metadata: grpcMetadata({ [PATIENCE_METADATA]: String(patienceSeconds) }),
    },
  });
}

function responseMode(headers: 'SEND' | 'SKIP', body: 'FULL_DUPLEX_STREAMED' | 'NONE'): ProtoMessage {
  return {
    request_header_mode: 'SKIP',
    request_body_mode: 'NONE',
    request_trailer_mode: 'SKIP',
    response_header_mode: headers,
    response_body_mode: body,
    response_trailer_mode: headers,
  };
}

/** How long Envoy waits for a worker that watches a stream: the try's own timeout ends it before. */
const WATCH_TIMEOUT_SECONDS = 3600;

/**
 * The upstream leg: one exchange for each try on a provider, so every try converts afresh. Where it watches, it also
 * gets the answer: Envoy keeps that back, and lets it go once the worker ends the exchange.
 */
export function upstreamFilter(watches: boolean): ProtoMessage {
  return {
    name: 'limen.upstream',
    typed_config: extProc(
      'upstream',
      {
        processing_mode: {
          request_header_mode: 'SEND',
          request_body_mode: 'BUFFERED',
          request_trailer_mode: 'SKIP',
          response_header_mode: watches ? 'SEND' : 'SKIP',
          response_body_mode: watches ? 'STREAMED' : 'NONE',
          response_trailer_mode: watches ? 'SEND' : 'SKIP',
        },
        ...(watches
          ? {
              send_body_without_waiting_for_header_response: true,
              message_timeout: duration(WATCH_TIMEOUT_SECONDS),
            }
          : {}),
        request_attributes: ['xds.cluster_name'],
        allow_content_length_header: true,
        metadata_options: {
          forwarding_namespaces: { untyped: [CONTEXT_NAMESPACE] },
          receiving_namespaces: { untyped: [ATTEMPT_NAMESPACE] },
        },
      },
      watches ? { [WATCH_METADATA]: 'true' } : {},
    ),
  };
}

/**
 * A compressed answer that grows by more is cut off there, as a truncated one (Envoy's own bound, which its Brotli
 * library has built in).
 */
const MAX_INFLATE_RATIO = 100;

/** The most that Envoy 1.40 accepts here; usage of a larger answer is estimated. */
const MAX_COUNTED_JSON_BYTES = 10_485_760;

/** Envoy's own token counting. Only routes that name a format have it on. */
export function usageFilter(): ProtoMessage {
  return {
    name: USAGE_FILTER,
    typed_config: typed('envoy.extensions.filters.http.ai_protocol_manager.v3.AiProtocolManager', {
      response_handling: {
        token_usage: {
          metadata_namespace: USAGE_NAMESPACE,
          limits: { max_json_body_size: MAX_COUNTED_JSON_BYTES },
        },
      },
    }),
  };
}

/** Embeddings tell their usage as Chat Completions do, without output. */
const LLM_PROTOCOLS: Readonly<Record<NativeFormat, string>> = {
  chat: 'OPENAI_CHAT_COMPLETIONS',
  responses: 'OPENAI_RESPONSES',
  messages: 'ANTHROPIC_MESSAGES',
  gemini: 'GEMINI_GENERATE_CONTENT',
  embeddings: 'OPENAI_CHAT_COMPLETIONS',
};

/** Per-route configuration that has Envoy count the tokens of one format. */
export function usagePerRoute(format: NativeFormat): TypedMessage {
  return typed('envoy.extensions.filters.http.ai_protocol_manager.v3.AiProtocolManagerPerRoute', {
    response: { llm_protocol: LLM_PROTOCOLS[format] },
  });
}

const DECOMPRESSORS = {
  gzip: typed('envoy.extensions.compression.gzip.decompressor.v3.Gzip', {
    max_inflate_ratio: MAX_INFLATE_RATIO,
  }),
  brotli: typed('envoy.extensions.compression.brotli.decompressor.v3.Brotli', {}),
};

/**
 * Decompress what a provider compressed although nobody asked it to: Envoy's counting and a client that was never told
 * of it get plain bytes. Requests pass as they are. They stand behind the response leg, which does that by itself: they
 * add trailers in the middle of an answer's last piece, and Envoy 1.40 never hands those to a filter in
 * FULL_DUPLEX_STREAMED, so that the answer would not end.
 */
export function decompressorFilters(): ProtoMessage[] {
  return Object.entries(DECOMPRESSORS).map(([name, library]) => ({
    name: `limen.${name}`,
    typed_config: typed('envoy.extensions.filters.http.decompressor.v3.Decompressor', {
      decompressor_library: { name, typed_config: library },
      request_direction_config: {
        common_config: { enabled: { default_value: false, runtime_key: `limen.${name}.requests` } },
        advertise_accept_encoding: false,
      },
    }),
  }));
}

/** Per-route configuration that leaves the decompressors out: what the client asked for is what it gets. */
export function decompressorsDisabled(): Readonly<Record<string, TypedMessage>> {
  return Object.fromEntries(
    Object.keys(DECOMPRESSORS).map((name) => [
      `limen.${name}`,
      typed('envoy.config.route.v3.FilterConfig', { disabled: true }),
    ]),
  );
}

/** Replaces a provider's refusal of the gateway itself, on the routes that say with what. */
export function refusalFilter(): ProtoMessage {
  return {
    name: REFUSAL_FILTER,
    typed_config: typed('envoy.extensions.filters.http.custom_response.v3.CustomResponse', {}),
  };
}

/** Per-route configuration that leaves an ext_proc filter out. */
export function extProcDisabled(): TypedMessage {
  return typed(EXT_PROC_PER_ROUTE, { disabled: true });
}
