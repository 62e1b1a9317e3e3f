import type { ErrorCode } from '../../core/errors.ts';
import { CHARGED_FIELD, CONTEXT_NAMESPACE, WORKER_ANSWER_DETAILS } from '../../core/gateway-names.ts';
import { typed, type ProtoJson, type ProtoMessage, type TypedMessage } from '../resource.ts';

/** Stands for the request's id in the bodies that formats make for Envoy's own answers. */
export const REQUEST_ID_PLACEHOLDER = '{request-id}';

/** Where Envoy finds the request's id before the front leg has decided … */
export const EARLY_REQUEST_ID = '%STREAM_ID%';
/** … and after: the header behind the first is taken out before a request goes to a provider. */
export const DECIDED_REQUEST_ID = `%DYNAMIC_METADATA(${CONTEXT_NAMESPACE}:id)%`;

function hasField(name: string): ProtoMessage {
  return {
    metadata_filter: {
      matcher: { filter: CONTEXT_NAMESPACE, path: [{ key: name }], value: { present_match: true } },
      match_if_key_not_found: false,
    },
  };
}

/** Matches requests that the front leg has decided on. */
export const decidedFilter: ProtoMessage = hasField('context');
/** Of these, the ones whose end is charged to a rule. */
export const chargedFilter: ProtoMessage = hasField(CHARGED_FIELD);

/**
 * Matches answers that a worker gave, which Envoy too counts among its local replies: their status, body and
 * headers stand as they are. The prefix is that of the processor's immediate responses.
 */
const decidedByWorkerFilter: ProtoMessage = {
  extension_filter: {
    name: 'envoy.access_loggers.extension_filters.cel',
    typed_config: typed('envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter', {
      expression: `response.code_details.startsWith('${WORKER_ANSWER_DETAILS}')`,
    }),
  },
};

/** Error bodies of one client format. */
export interface ErrorBodies {
  /** Name of the format, as the front leg writes it into dynamic metadata. */
  readonly format: string;
  /** Requests whose path begins so get this shape before the front leg has decided; absent: everybody else. */
  readonly pathPrefix?: string | undefined;
  /** The body for a code and public message, with REQUEST_ID_PLACEHOLDER as request id. */
  readonly body: (code: ErrorCode, message: string) => string;
  /** In place of what is said about providers of models. */
  readonly messages?: Readonly<Partial<Record<ErrorCode, string>>> | undefined;
}

/** What Envoy says about other services. */
export const BACKEND_MESSAGES: NonNullable<ErrorBodies['messages']> = {
  upstream_timeout: 'The service did not answer in time.',
  upstream_unavailable: 'The service could not be reached.',
  upstream_reset: 'The service closed the connection before it answered.',
  unavailable: 'The service is not available right now. Try again shortly.',
};

interface LocalReply {
  readonly code: ErrorCode;
  readonly message: string;
  /** Envoy's own status that this is about; absent: any. */
  readonly status?: number;
  /** Envoy response flags of which one must be set; absent: any. */
  readonly flags?: readonly string[];
  /** Status for the client where Envoy's own is not the right one. */
  readonly clientStatus?: number;
}

/** Everything that Envoy may answer by itself, most special first. */
const LOCAL_REPLIES: readonly LocalReply[] = [
  {
    code: 'upstream_timeout',
    message: 'The provider did not answer in time. Try again, or ask for a shorter answer.',
    flags: ['UT', 'UMSDR'],
  },
  {
    code: 'upstream_unavailable',
    message: 'The provider could not be reached.',
    flags: ['UF', 'DF'],
  },
  {
    code: 'upstream_reset',
    message: 'The provider closed the connection before it answered.',
    flags: ['UC', 'UR', 'LR', 'UPE'],
    clientStatus: 502,
  },
  {
    code: 'unavailable',
    message: 'The gateway is overloaded. Try again shortly.',
    flags: ['OM'],
  },
  {
    // A path without a route has no cluster either, so this stands before that.
    code: 'not_found',
    message: 'There is nothing at this path. Try /v1/chat/completions, /v1/messages or /v1/models.',
    status: 404,
  },
  { code: 'unavailable', message: 'No provider of this model is available.', flags: ['UH', 'NC', 'UO'] },
  { code: 'request_timeout', message: 'The request did not arrive in time.', status: 408 },
  { code: 'request_too_large', message: 'The request body is larger than this gateway takes.', status: 413 },
  {
    code: 'headers_too_large',
    message: 'The request headers are larger than this gateway takes.',
    status: 431,
  },
  { code: 'upstream_timeout', message: 'The provider did not answer in time.', status: 504 },
  {
    code: 'unavailable',
    message: 'The gateway cannot decide on requests right now. Try again shortly.',
    status: 503,
  },
  {
    // Envoy's own 502s have flags, and so are told above: this is refusalsOfProvider's.
    code: 'upstream_refused',
    message:
      'The provider refused the gateway itself. The operator has to check its address, credential and account there.',
    status: 502,
  },
  { code: 'internal_error', message: 'The gateway failed to handle this request.', status: 500 },
  { code: 'invalid_request', message: 'The request is malformed.', status: 400 },
];

const REQUEST_ID_TOLD: readonly ProtoMessage[] = ['x-request-id', 'request-id'].map((key) => ({
  header: { key, value: DECIDED_REQUEST_ID },
  append_action: 'OVERWRITE_IF_EXISTS_OR_ADD',
}));

function statusFilter(status: number): ProtoMessage {
  return {
    status_code_filter: {
      comparison: { op: 'EQ', value: { default_value: status, runtime_key: `limen.local_reply.${status}` } },
    },
  };
}

function pathFilter(prefix: string): ProtoMessage {
  return { header_filter: { header: { name: ':path', string_match: { prefix } } } };
}

function formatFilter(format: string): ProtoMessage {
  return {
    metadata_filter: {
      matcher: {
        filter: CONTEXT_NAMESPACE,
        path: [{ key: 'format' }],
        value: { string_match: { exact: format } },
      },
      match_if_key_not_found: false,
    },
  };
}

function filterOf(reply: LocalReply, bodies: ErrorBodies, decided: boolean): ProtoMessage {
  const filters: ProtoMessage[] = [];
  // After the decision the path may be that of a provider with another format.
  if (decided) filters.push(formatFilter(bodies.format));
  else if (bodies.pathPrefix !== undefined) filters.push(pathFilter(bodies.pathPrefix));
  if (reply.flags !== undefined) filters.push({ response_flag_filter: { flags: [...reply.flags] } });
  if (reply.status !== undefined) filters.push(statusFilter(reply.status));
  const only = filters[0];
  return filters.length === 1 && only !== undefined ? only : { and_filter: { filters } };
}

/** The body as Envoy's format string: literal per cent signs doubled, the id filled in by Envoy. */
function formatString(body: string, requestId: string): string {
  return body.replaceAll('%', '%%').replaceAll(REQUEST_ID_PLACEHOLDER, requestId);
}

/** Gives Envoy's own answers the client's format: `formats` in the order of choice, the last one for all paths. */
export function localReplyConfig(formats: readonly ErrorBodies[]): ProtoMessage {
  const mapper = (reply: LocalReply, bodies: ErrorBodies, decided: boolean): ProtoJson => ({
    filter: filterOf(reply, bodies, decided),
    ...(reply.clientStatus === undefined ? {} : { status_code: reply.clientStatus }),
    // In the middle of an answer that a worker holds back, the filter that tells it is passed over.
    ...(decided ? { headers_to_add: [...REQUEST_ID_TOLD] } : {}),
    body_format_override: {
      text_format_source: {
        inline_string: formatString(
          bodies.body(reply.code, bodies.messages?.[reply.code] ?? reply.message),
          decided ? DECIDED_REQUEST_ID : EARLY_REQUEST_ID,
        ),
      },
      content_type: 'application/json',
    },
  });
  const mappers = LOCAL_REPLIES.flatMap((reply) => [
    ...formats.map((bodies) => mapper(reply, bodies, true)),
    ...formats.map((bodies) => mapper(reply, bodies, false)),
  ]);
  return { mappers: [{ filter: decidedByWorkerFilter }, ...mappers] };
}

/**
 * A provider's answers about its own address, credential and account: no client's business, and they may quote it. A
 * client that followed a redirect would take its key there.
 */
const REFUSED_STATUSES = [300, 301, 302, 303, 304, 305, 307, 308, 401, 402, 403, 407];
const REFUSED_CLIENT_STATUS = 502;

/**
 * Per-route configuration of Envoy's custom_response filter: in place of a provider's refusal of the gateway
 * itself, the client gets a 502 whose body the local reply configuration gives it.
 */
export function refusalsOfProvider(): TypedMessage {
  const policy = typed('envoy.extensions.http.custom_response.local_response_policy.v3.LocalResponsePolicy', {
    status_code: REFUSED_CLIENT_STATUS,
    response_headers_to_add: [...REQUEST_ID_TOLD],
  });
  return typed('envoy.extensions.filters.http.custom_response.v3.CustomResponse', {
    custom_response_matcher: {
      matcher_tree: {
        input: {
          name: 'status',
          typed_config: typed('envoy.type.matcher.v3.HttpResponseStatusCodeMatchInput', {}),
        },
        exact_match_map: {
          map: Object.fromEntries(
            REFUSED_STATUSES.map((status) => [
              String(status),
              { action: { name: 'limen.refused', typed_config: policy } },
            ]),
          ),
        },
      },
    },
  });
}
