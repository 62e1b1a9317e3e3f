import type { LimenError } from '../core/errors.ts';
import type { Usage } from '../core/usage.ts';

/**
 * The one request, response and event model between all formats. A format decodes into it and encodes from
 * it, so N formats need N folders, not N×N conversions. Only what a converter acts on is typed; everything
 * else travels in `extra` or as an `opaque` part, tagged with the format that understands it.
 */

/** The client APIs that Limen speaks. */
export type ClientFormatName = 'chat' | 'responses' | 'messages' | 'gemini';

/** The wire formats that providers are sent: the client APIs, and Bedrock's Converse. */
export type FormatName = ClientFormatName | 'converse';

/** Whose models made a reasoning signature: only they can read it again, on whatever platform they run. */
export type ReasoningVendor = 'anthropic' | 'google' | 'openai';

/**
 * What a provider must get back unchanged with a part that it wrote: Anthropic's `signature`, Google's
 * `thoughtSignature`, OpenAI's `encrypted_content`.
 */
export interface HubSignature {
  readonly vendor: ReasoningVendor;
  readonly value: string;
  /** Id of the item that it belongs to, where the vendor has one (`rs_…`). */
  readonly id?: string | undefined;
}

/** Where a piece of an answer comes from. `start` and `end` count UTF-16 units of the part's text. */
export interface HubCitation {
  readonly url?: string | undefined;
  readonly title?: string | undefined;
  readonly citedText?: string | undefined;
  readonly fileId?: string | undefined;
  readonly start?: number | undefined;
  readonly end?: number | undefined;
  /** As its own format writes it, for clients of that format. */
  readonly native?: { readonly format: FormatName; readonly value: JsonObject } | undefined;
}

/** Probability of one token and of those that might have stood in its place, natural logarithms. */
export interface HubTokenLogprob {
  readonly token: string;
  readonly logprob: number;
  /** UTF-8 bytes of the token. */
  readonly bytes?: readonly number[] | undefined;
  readonly top: readonly {
    readonly token: string;
    readonly logprob: number;
    readonly bytes?: readonly number[] | undefined;
  }[];
}

export type JsonObject = Readonly<Record<string, unknown>>;

/** A cache marker as the client wrote it, `{type: 'ephemeral', ttl?}`. */
export type CacheMarker = JsonObject;

interface Cacheable {
  readonly cacheMarker?: CacheMarker | undefined;
}

export type HubSource =
  | { readonly kind: 'base64'; readonly mediaType: string; readonly data: string }
  | { readonly kind: 'url'; readonly url: string }
  | { readonly kind: 'file'; readonly fileId: string }
  | { readonly kind: 'text'; readonly text: string };

export interface HubText extends Cacheable {
  readonly kind: 'text';
  readonly text: string;
  readonly citations?: readonly HubCitation[] | undefined;
  readonly logprobs?: readonly HubTokenLogprob[] | undefined;
  /** Gemini signs text as well. */
  readonly signature?: HubSignature | undefined;
  /** OpenAI's label of an assistant's message, which it wants back: `commentary`, `final_answer`. */
  readonly phase?: string | undefined;
}

export interface HubImage extends Cacheable {
  readonly kind: 'image';
  readonly source: HubSource;
  /** OpenAI's resolution hint: auto, low, high. */
  readonly detail?: string | undefined;
}

export interface HubDocument extends Cacheable {
  readonly kind: 'document';
  readonly source: HubSource;
  /** File name or title. */
  readonly title?: string | undefined;
  /** Fields of the client's document block that only its own format knows (context, citations). */
  readonly extra?: JsonObject | undefined;
}

export interface HubAudio extends Cacheable {
  readonly kind: 'audio';
  /** Base64. */
  readonly data: string;
  /** `wav`, `mp3` … */
  readonly audioFormat: string;
}

export interface HubToolCall extends Cacheable {
  readonly kind: 'tool_call';
  readonly id: string;
  readonly name: string;
  /** JSON text of the arguments, as the model wrote it: not every model writes valid JSON. */
  readonly argumentsJson: string;
  /** Gemini signs tool calls. */
  readonly signature?: HubSignature | undefined;
  /** A call of a free-text tool (`HubTool.freeText`): the arguments are an object with the text as `input`. */
  readonly freeText?: boolean | undefined;
}

export interface HubToolResult extends Cacheable {
  readonly kind: 'tool_result';
  readonly toolCallId: string;
  /** Name of the tool, where the format tells it with the result (Gemini) or the call told it. */
  readonly toolName?: string | undefined;
  readonly content: readonly HubPart[];
  readonly isError: boolean;
}

export interface HubThinking {
  readonly kind: 'thinking';
  readonly text: string;
  /** The provider's proof that it wrote this text; it refuses the block without it. */
  readonly signature?: HubSignature | undefined;
}

/** Reasoning that nobody but its vendor can read (Anthropic's `redacted_thinking`). */
export interface HubRedactedThinking {
  readonly kind: 'redacted_thinking';
  readonly data: string;
}

/**
 * Reasoning of an earlier turn as a client gave it back that could not read it. `formats/carry.ts` makes it of
 * secrets on the way to a client and opens it on the way to a provider: no decoder or encoder of a provider sees it.
 */
export interface HubSealedReasoning {
  readonly kind: 'sealed_reasoning';
  readonly sealed: string;
  /** Where the client's request has it: `messages[1].content[0].data`. */
  readonly place?: string | undefined;
}

export interface HubRefusal {
  readonly kind: 'refusal';
  readonly text: string;
}

/** A part that only its own format knows; other formats report it as dropped. */
export interface HubOpaque {
  readonly kind: 'opaque';
  readonly format: FormatName;
  readonly value: JsonObject;
}

export type HubPart =
  | HubText
  | HubImage
  | HubDocument
  | HubAudio
  | HubToolCall
  | HubToolResult
  | HubThinking
  | HubSealedReasoning
  | HubRedactedThinking
  | HubRefusal
  | HubOpaque;

export interface HubMessage {
  readonly role: 'system' | 'user' | 'assistant';
  readonly content: readonly HubPart[];
  /** OpenAI's `developer` role, which is `system` by another name. */
  readonly developer?: boolean | undefined;
  /** Where the client's request has it, for warnings: `messages[2]`, `system`. */
  readonly place: string;
  /** Name of the participant, where the format has one. */
  readonly name?: string | undefined;
}

export interface HubTool extends Cacheable {
  readonly name: string;
  readonly description?: string | undefined;
  /** JSON Schema of the arguments. */
  readonly parameters?: JsonObject | undefined;
  readonly strict?: boolean | undefined;
  /**
   * OpenAI's custom tools: their input is one text, bound to a grammar or not. `parameters` describes the same as an
   * object with the text as `input`, for formats that have functions only.
   */
  readonly freeText?:
    { readonly grammar?: { readonly syntax: string; readonly definition: string } } | undefined;
  /** Members of the definition that only its own format knows. */
  readonly extra?: JsonObject | undefined;
}

export interface HubOpaqueTool {
  readonly format: FormatName;
  readonly value: JsonObject;
}

export type HubToolChoice =
  | { readonly kind: 'auto' }
  | { readonly kind: 'any' }
  | { readonly kind: 'none' }
  | { readonly kind: 'tool'; readonly name: string };

export type ReasoningEffort = 'none' | 'minimal' | 'low' | 'medium' | 'high' | 'xhigh' | 'max';

export interface HubReasoning {
  /** `false`: the client asked for no reasoning. */
  readonly enabled?: boolean | undefined;
  readonly effort?: ReasoningEffort | undefined;
  /** Anthropic's manual mode: tokens the model may think for. */
  readonly budgetTokens?: number | undefined;
  /** Anthropic's adaptive mode: the model decides. */
  readonly adaptive?: boolean | undefined;
  /** Anthropic's `display`: `summarized` or `omitted`. */
  readonly display?: string | undefined;
}

export type HubOutputFormat =
  | { readonly kind: 'json_object' }
  | {
      readonly kind: 'json_schema';
      readonly schema: JsonObject;
      readonly name?: string | undefined;
      readonly description?: string | undefined;
      readonly strict?: boolean | undefined;
    };

export interface HubRequest {
  readonly format: FormatName;
  readonly model: string;
  readonly stream: boolean;
  /** The client asked for a usage chunk at the end of its stream. */
  readonly includeUsage: boolean;
  readonly messages: readonly HubMessage[];
  readonly tools: readonly HubTool[];
  readonly opaqueTools: readonly HubOpaqueTool[];
  readonly toolChoice?: HubToolChoice | undefined;
  readonly parallelToolCalls?: boolean | undefined;
  readonly maxOutputTokens?: number | undefined;
  readonly temperature?: number | undefined;
  readonly topP?: number | undefined;
  readonly topK?: number | undefined;
  readonly stop?: readonly string[] | undefined;
  readonly seed?: number | undefined;
  readonly frequencyPenalty?: number | undefined;
  readonly presencePenalty?: number | undefined;
  readonly candidateCount?: number | undefined;
  readonly logprobs?: boolean | undefined;
  readonly topLogprobs?: number | undefined;
  readonly reasoning?: HubReasoning | undefined;
  readonly outputFormat?: HubOutputFormat | undefined;
  /** An identifier of the end user. */
  readonly user?: string | undefined;
  readonly serviceTier?: 'auto' | 'standard' | 'flex' | 'priority' | undefined;
  /** What the decoder itself could read only as something close to it; `openRequest` reports it. */
  readonly approximated?: readonly { readonly field: string; readonly reason: string }[] | undefined;
  /** Names of members inside lists (`messages.audio`) that the decoder has no field for; `openRequest` reports them. */
  readonly unread?: readonly string[] | undefined;
  /** Top-level fields that only the client's own format knows. */
  readonly extra: JsonObject;
}

export type HubFinishReason =
  'stop' | 'stop_sequence' | 'length' | 'context_window' | 'tool_calls' | 'refusal' | 'pause';

export interface HubFinish {
  readonly reason: HubFinishReason;
  readonly stopSequence?: string | undefined;
  /** The provider's own words on a refusal. */
  readonly explanation?: string | undefined;
}

export interface HubResponse {
  readonly id: string;
  readonly model: string;
  /** Unix seconds, where the upstream tells. */
  readonly created?: number | undefined;
  readonly content: readonly HubPart[];
  readonly finish: HubFinish;
  readonly usage?: Usage | undefined;
  /** The tier that served the request, in OpenAI's words: default, priority, flex. */
  readonly serviceTier?: string | undefined;
  /** Members of the answer that only its own format knows, by their names there. */
  readonly extra?: { readonly format: FormatName; readonly value: JsonObject } | undefined;
}

/** What a content block of a stream is; its bytes follow as deltas. */
export type HubBlock =
  | { readonly kind: 'text' }
  /** `id` as in `HubSignature`, where it is known before the signature. */
  | { readonly kind: 'thinking'; readonly id?: string | undefined }
  | { readonly kind: 'refusal' }
  | {
      readonly kind: 'tool_call';
      readonly id: string;
      readonly name: string;
      readonly signature?: HubSignature | undefined;
      /** As in `HubToolCall`. */
      readonly freeText?: boolean | undefined;
    }
  | { readonly kind: 'redacted_thinking'; readonly data: string }
  | HubSealedReasoning
  /** Whole at once: no format streams pieces of an image. */
  | HubImage
  | { readonly kind: 'opaque'; readonly format: FormatName; readonly value: JsonObject };

/**
 * Events of a streamed answer, in the order of any decoder: `start`, then blocks one after the other (never
 * two open at once: an encoder relies on it), then `finish`, then `usage` if known, then `end`. `ping` and a `usage` of what
 * there was so far may stand anywhere, the last `usage` counts; `error` ends the stream. Without `end` or `error` the stream was cut off.
 */
export type HubEvent =
  | {
      readonly kind: 'start';
      readonly id: string;
      readonly model: string;
      readonly created?: number | undefined;
      readonly usage?: Usage | undefined;
      readonly serviceTier?: string | undefined;
    }
  | { readonly kind: 'block_start'; readonly block: HubBlock }
  | { readonly kind: 'delta'; readonly text: string }
  /** Belongs to the open block, a thinking or a text one; before its `block_stop`. */
  | { readonly kind: 'signature'; readonly signature: HubSignature }
  /** About the open text block. */
  | { readonly kind: 'citation'; readonly citation: HubCitation }
  /** Of the text deltas since the last such event. */
  | { readonly kind: 'logprobs'; readonly logprobs: readonly HubTokenLogprob[] }
  | { readonly kind: 'opaque_delta'; readonly format: FormatName; readonly value: JsonObject }
  | { readonly kind: 'block_stop' }
  | { readonly kind: 'finish'; readonly finish: HubFinish }
  | { readonly kind: 'usage'; readonly usage: Usage }
  | { readonly kind: 'ping' }
  | { readonly kind: 'error'; readonly error: LimenError }
  | { readonly kind: 'end' };
