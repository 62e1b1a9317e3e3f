import type { EncodeRequestOptions } from '../format.ts';
import type {
  HubMessage,
  HubOutputFormat,
  HubPart,
  HubRequest,
  HubTool,
  HubToolResult,
  JsonObject,
} from '../hub.ts';
import { formatDataUrl } from '../media.ts';
import type { WarningList } from '../warnings.ts';

/**
 * Writes a hub request as a Chat Completions request. What the format has no field for is reported in
 * `options.warnings`.
 */
export function encodeChatRequest(request: HubRequest, options: EncodeRequestOptions): Buffer {
  const { warnings } = options;
  const messages = request.messages.flatMap((message) => encodeMessage(message, message.place, options));
  const body = {
    model: request.model,
    messages,
    ...encodeTools(request, warnings),
    [options.maxOutputTokensField ?? 'max_tokens']: request.maxOutputTokens,
    temperature: request.temperature,
    top_p: request.topP,
    top_k: request.topK,
    stop: request.stop,
    seed: request.seed,
    frequency_penalty: request.frequencyPenalty,
    presence_penalty: request.presencePenalty,
    n: request.candidateCount,
    logprobs: request.logprobs,
    top_logprobs: request.topLogprobs,
    reasoning_effort: request.reasoning?.effort,
    response_format: encodeOutputFormat(request.outputFormat, warnings),
    user: request.user,
    service_tier: encodeServiceTier(request.serviceTier),
    stream: request.stream ? true : undefined,
    stream_options: request.stream && request.includeUsage ? { include_usage: true } : undefined,
    ...encodeExtra(request, warnings),
  };
  return Buffer.from(JSON.stringify(body));
}

function encodeServiceTier(tier: HubRequest['serviceTier']): string | undefined {
  return tier === 'standard' ? 'default' : tier;
}

function encodeExtra(request: HubRequest, warnings: WarningList): JsonObject {
  if (request.format === 'chat') return request.extra;
  for (const [field, value] of Object.entries(request.extra)) {
    if (value !== null) warnings.dropped(field, 'Chat Completions has no such field.');
  }
  return {};
}

function encodeMessage(message: HubMessage, place: string, options: EncodeRequestOptions): JsonObject[] {
  switch (message.role) {
    case 'system': {
      const content = encodeContent(message.content, place, options.warnings);
      return [{ role: message.developer ? 'developer' : 'system', content, name: message.name }];
    }
    case 'user':
      return encodeUserMessage(message, place, options.warnings);
    case 'assistant':
      return [encodeAssistantMessage(message, place, options)];
  }
}

/** Tool results become messages of their own and stand before whatever else the user said in that turn. */
function encodeUserMessage(message: HubMessage, place: string, warnings: WarningList): JsonObject[] {
  const results = message.content.filter((part) => part.kind === 'tool_result');
  const others = message.content.filter((part) => part.kind !== 'tool_result');
  const media: HubPart[] = [];
  const encoded = results.map((result) => encodeToolResult(result, place, media, warnings));
  const rest = [...media, ...others];
  if (rest.length === 0 && results.length > 0) return encoded;
  return [...encoded, { role: 'user', content: encodeContent(rest, place, warnings), name: message.name }];
}

function encodeToolResult(
  result: HubToolResult,
  place: string,
  media: HubPart[],
  warnings: WarningList,
): JsonObject {
  warnAboutCacheMarker(result, warnings);
  const texts: HubPart[] = [];
  for (const part of result.content) {
    if (part.kind === 'image' || part.kind === 'document') {
      warnings.approximated(
        `${place}.content`,
        'Tool messages of Chat Completions hold text only: images and files of a tool result follow in a user message.',
      );
      media.push(part);
    } else {
      texts.push(part);
    }
  }
  if (result.isError) {
    warnings.approximated(
      `${place}.content.is_error`,
      "Tool messages of Chat Completions have no error flag: the text starts with 'Error: '.",
    );
    texts.unshift({ kind: 'text', text: 'Error: ' });
  }
  const content = encodeContent(texts, place, warnings);
  return {
    role: 'tool',
    tool_call_id: result.toolCallId,
    content: result.isError && Array.isArray(content) ? joinTexts(texts) : content,
  };
}

function joinTexts(parts: readonly HubPart[]): string {
  return parts.map((part) => (part.kind === 'text' ? part.text : '')).join('');
}

function encodeAssistantMessage(
  message: HubMessage,
  place: string,
  options: EncodeRequestOptions,
): JsonObject {
  const { warnings, reasoningTextField } = options;
  const thinking: string[] = [];
  const refusals: string[] = [];
  const calls: JsonObject[] = [];
  const content: HubPart[] = [];
  for (const part of message.content) {
    switch (part.kind) {
      case 'thinking':
        if (part.text !== '') thinking.push(part.text);
        break;
      case 'redacted_thinking':
      case 'sealed_reasoning':
        warnings.dropped(`${place}.content`, 'Encrypted reasoning is of use to its own provider only.');
        break;
      case 'refusal':
        refusals.push(part.text);
        break;
      case 'tool_call':
        warnAboutCacheMarker(part, warnings);
        calls.push({
          id: part.id,
          type: 'function',
          function: { name: part.name, arguments: part.argumentsJson },
        });
        break;
      default:
        content.push(part);
    }
  }
  if (thinking.length > 0 && reasoningTextField === undefined) {
    warnings.dropped(`${place}.content`, 'This provider takes no reasoning of earlier turns.');
  }
  return {
    role: 'assistant',
    ...(thinking.length > 0 && reasoningTextField !== undefined
      ? { [reasoningTextField]: thinking.join('\n') }
      : {}),
    content: content.length === 0 ? null : encodeContent(content, place, warnings),
    refusal: refusals.length > 0 ? refusals.join('\n') : undefined,
    tool_calls: calls.length > 0 ? calls : undefined,
    name: message.name,
  };
}

/** A single plain text becomes a string, the form that every compatible server understands. */
function encodeContent(
  parts: readonly HubPart[],
  place: string,
  warnings: WarningList,
): string | readonly JsonObject[] {
  const only = parts.length === 1 ? parts[0] : undefined;
  if (parts.length === 0) return '';
  if (only?.kind === 'text') {
    warnAboutCacheMarker(only, warnings);
    return only.text;
  }
  return parts.flatMap((part, index) => encodePart(part, `${place}.content[${String(index)}]`, warnings));
}

function encodePart(part: HubPart, place: string, warnings: WarningList): JsonObject[] {
  warnAboutCacheMarker(part, warnings);
  switch (part.kind) {
    case 'text':
      return [{ type: 'text', text: part.text }];
    case 'refusal':
      return [{ type: 'refusal', refusal: part.text }];
    case 'image': {
      const { source } = part;
      if (source.kind === 'base64' || source.kind === 'url') {
        const url = source.kind === 'url' ? source.url : formatDataUrl(source.mediaType, source.data);
        return [{ type: 'image_url', image_url: { url, detail: part.detail } }];
      }
      warnings.dropped(place, 'Chat Completions takes images as URL or data only.');
      return [];
    }
    case 'document':
      return [encodeDocument(part, place, warnings)];
    case 'audio':
      return [{ type: 'input_audio', input_audio: { data: part.data, format: part.audioFormat } }];
    case 'opaque':
      if (part.format === 'chat') return [part.value];
      warnings.dropped(place, 'Chat Completions has no such content.');
      return [];
    default:
      warnings.dropped(place, 'Chat Completions has no such content in this role.');
      return [];
  }
}

function encodeDocument(
  part: Extract<HubPart, { kind: 'document' }>,
  place: string,
  warnings: WarningList,
): JsonObject {
  const { source, title } = part;
  for (const [field, value] of Object.entries(part.extra ?? {})) {
    if (value !== null)
      warnings.dropped(`${place}.${field}`, 'Chat Completions has no such field of a file.');
  }
  switch (source.kind) {
    case 'base64': {
      const extension = source.mediaType === 'application/pdf' ? '.pdf' : '';
      const filename = title ?? `document${extension}`;
      return { type: 'file', file: { filename, file_data: formatDataUrl(source.mediaType, source.data) } };
    }
    case 'file':
      return { type: 'file', file: { file_id: source.fileId } };
    case 'text':
      warnings.approximated(place, 'Chat Completions takes text documents as text.');
      return { type: 'text', text: title === undefined ? source.text : `${title}\n\n${source.text}` };
    case 'url':
      warnings.approximated(place, 'Chat Completions cannot fetch documents: the address is given as text.');
      return { type: 'text', text: title === undefined ? source.url : `${title}: ${source.url}` };
  }
}

function warnAboutCacheMarker(part: HubPart | HubTool, warnings: WarningList): void {
  if ('cacheMarker' in part && part.cacheMarker !== undefined) {
    warnings.dropped('cache_control', 'Providers of this format choose themselves what they cache.');
  }
}

function encodeTools(request: HubRequest, warnings: WarningList): JsonObject {
  const tools: JsonObject[] = request.tools.map((tool) => {
    warnAboutCacheMarker(tool, warnings);
    for (const field of Object.keys(tool.extra ?? {})) {
      warnings.dropped(`tools.${field}`, 'Chat Completions has no such field of a tool.');
    }
    return {
      type: 'function',
      function: {
        name: tool.name,
        description: tool.description,
        parameters: tool.parameters,
        strict: tool.strict,
      },
    };
  });
  for (const tool of request.opaqueTools) {
    if (tool.format === 'chat') tools.push(tool.value);
    else warnings.dropped('tools', `Chat Completions has no tool of type '${String(tool.value['type'])}'.`);
  }
  if (tools.length === 0) return {};
  return {
    tools,
    tool_choice: encodeToolChoice(request),
    parallel_tool_calls: request.parallelToolCalls,
  };
}

function encodeToolChoice({ toolChoice }: HubRequest): unknown {
  if (toolChoice === undefined) return undefined;
  switch (toolChoice.kind) {
    case 'any':
      return 'required';
    case 'tool':
      return { type: 'function', function: { name: toolChoice.name } };
    default:
      return toolChoice.kind;
  }
}

function encodeOutputFormat(
  format: HubOutputFormat | undefined,
  warnings: WarningList,
): JsonObject | undefined {
  if (format === undefined) return undefined;
  if (format.kind === 'json_object') return { type: 'json_object' };
  const strict = format.strict ?? allowsStrictMode(format.schema);
  if (format.strict === undefined && !strict) {
    warnings.approximated(
      'output_config.format',
      'Strict schemas of OpenAI need every property required and no others allowed: sent as not strict.',
    );
  }
  return {
    type: 'json_schema',
    json_schema: {
      name: format.name ?? 'output',
      description: format.description,
      schema: format.schema,
      strict,
    },
  };
}

/** Whether a JSON Schema meets OpenAI's rules for strict mode ("Structured model outputs", supported schemas). */
function allowsStrictMode(schema: unknown): boolean {
  if (Array.isArray(schema)) return schema.every(allowsStrictMode);
  if (typeof schema !== 'object' || schema === null) return true;
  const members = new Map<string, unknown>(Object.entries(schema));
  const properties = members.get('properties');
  if (typeof properties === 'object' && properties !== null) {
    const required = members.get('required');
    const named = new Set<unknown>(Array.isArray(required) ? required : []);
    if (members.get('additionalProperties') !== false) return false;
    if (!Object.keys(properties).every((name) => named.has(name))) return false;
  }
  return [...members.values()].every(allowsStrictMode);
}
