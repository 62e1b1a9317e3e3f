/**
 * The messages of proto/limen/*.proto as TypeScript sees them.
 *
 * Decoded messages are protobufjs objects: a scalar that was not sent has its default (an absent `bytes` is an
 * empty Buffer), a message that was not sent is null. What is only encoded may leave anything out.
 */

/** A 64-bit integer as protobufjs decodes it; {@link import('./values.ts').toNumber} makes a number of it. */
export type Int64 = number | { toNumber(): number };

export interface Duration {
  readonly seconds: Int64;
  readonly nanos: number;
}

export interface Timestamp {
  readonly seconds: Int64;
  readonly nanos: number;
}

/** google.protobuf.Value: exactly one member is set. */
export interface Value {
  readonly nullValue?: 0 | null;
  readonly numberValue?: number | null;
  readonly stringValue?: string | null;
  readonly boolValue?: boolean | null;
  readonly structValue?: Struct | null;
  readonly listValue?: { readonly values: readonly Value[] } | null;
}

export interface Struct {
  readonly fields: Readonly<Record<string, Value>>;
}

/** Named as protobufjs names it: the one message whose fields stay in snake case. */
export interface Any {
  readonly type_url: string;
  readonly value: Uint8Array;
}

export interface DecodedAny {
  readonly type_url: string;
  readonly value: Buffer;
}

export interface Metadata {
  readonly filterMetadata: Readonly<Record<string, Struct>>;
  readonly typedFilterMetadata: Readonly<Record<string, DecodedAny>>;
}

/** Envoy fills `rawValue` (its default since 1.29) or `value`; {@link import('./values.ts').headerText} reads either. */
export interface HeaderValue {
  readonly key: string;
  readonly value: string;
  readonly rawValue: Buffer;
}

export interface HttpHeaders {
  readonly headers: { readonly headers: readonly HeaderValue[] } | null;
  readonly endOfStream: boolean;
}

export interface HttpBody {
  readonly body: Buffer;
  readonly endOfStream: boolean;
}

export interface HttpTrailers {
  readonly trailers: { readonly headers: readonly HeaderValue[] } | null;
}

/** What a ProcessingRequest carries: the name of the one member that is set. */
export type ProcessingRequestKind =
  | 'requestHeaders'
  | 'responseHeaders'
  | 'requestBody'
  | 'responseBody'
  | 'requestTrailers'
  | 'responseTrailers';

export interface ProcessingRequest {
  readonly request?: ProcessingRequestKind | undefined;
  readonly requestHeaders: HttpHeaders | null;
  readonly responseHeaders: HttpHeaders | null;
  readonly requestBody: HttpBody | null;
  readonly responseBody: HttpBody | null;
  readonly requestTrailers: HttpTrailers | null;
  readonly responseTrailers: HttpTrailers | null;
  readonly metadataContext: Metadata | null;
  readonly attributes: Readonly<Record<string, Struct>>;
}

/** A header to send; `rawValue` takes any bytes, `value` only text. Set one of them. */
export interface HeaderInit {
  readonly key: string;
  readonly value?: string;
  readonly rawValue?: Uint8Array;
}

/** envoy.config.core.v3.HeaderValueOption.HeaderAppendAction */
export const APPEND_ACTION = {
  appendIfExistsOrAdd: 0,
  addIfAbsent: 1,
  overwriteIfExistsOrAdd: 2,
  overwriteIfExists: 3,
} as const;

export interface HeaderValueOption {
  readonly header: HeaderInit;
  readonly appendAction?: (typeof APPEND_ACTION)[keyof typeof APPEND_ACTION];
}

export interface HeaderMutation {
  readonly setHeaders?: readonly HeaderValueOption[];
  readonly removeHeaders?: readonly string[];
}

export interface StreamedBodyResponse {
  readonly body?: Uint8Array;
  readonly endOfStream?: boolean;
}

/** Set one member. */
export interface BodyMutation {
  readonly body?: Uint8Array;
  readonly clearBody?: boolean;
  readonly streamedResponse?: StreamedBodyResponse;
}

/** envoy.service.ext_proc.v3.CommonResponse.ResponseStatus */
export const RESPONSE_STATUS = { continue: 0, continueAndReplace: 1 } as const;

export interface CommonResponse {
  readonly status?: (typeof RESPONSE_STATUS)[keyof typeof RESPONSE_STATUS];
  readonly headerMutation?: HeaderMutation;
  readonly bodyMutation?: BodyMutation;
  readonly clearRouteCache?: boolean;
}

export interface ImmediateResponse {
  /** HTTP status code. */
  readonly status: { readonly code: number };
  readonly headers?: HeaderMutation;
  readonly body?: Uint8Array;
  /** Shows up as `response_code_details` in the access log. */
  readonly details?: string;
}

/** Set one member: the headers first, then bodies, the last one with `endOfStream`. */
export interface StreamedImmediateResponse {
  readonly headersResponse?: {
    readonly headers: { readonly headers: readonly HeaderInit[] };
    readonly endOfStream?: boolean;
  };
  readonly bodyResponse?: StreamedBodyResponse;
  readonly trailersResponse?: { readonly headers: readonly HeaderInit[] };
}

/** Set one member of the six legs or an immediate response; metadata beside it as needed. */
export interface ProcessingResponse {
  readonly requestHeaders?: { readonly response?: CommonResponse };
  readonly responseHeaders?: { readonly response?: CommonResponse };
  readonly requestBody?: { readonly response?: CommonResponse };
  readonly responseBody?: { readonly response?: CommonResponse };
  readonly requestTrailers?: { readonly headerMutation?: HeaderMutation };
  readonly responseTrailers?: { readonly headerMutation?: HeaderMutation };
  readonly immediateResponse?: ImmediateResponse;
  readonly streamedImmediateResponse?: StreamedImmediateResponse;
  readonly dynamicMetadata?: Struct;
  readonly overrideMessageTimeout?: Duration;
  readonly requestDrain?: boolean;
  readonly typedDynamicMetadata?: Readonly<Record<string, Any>>;
}

/** Groups of weighted clusters, in the order in which retries use them. */
export interface PriorityGroupsOverride {
  readonly priorityGroups: readonly {
    readonly name?: string;
    readonly clusters: readonly {
      readonly clusterName: string;
      readonly weight?: { readonly value: number };
    }[];
  }[];
}
