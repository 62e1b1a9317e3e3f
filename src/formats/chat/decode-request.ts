import { LimenError } from '../../core/errors.ts';
import type {
  CacheMarker,
  HubMessage,
  HubOpaqueTool,
  HubOutputFormat,
  HubPart,
  HubReasoning,
  HubRequest,
  HubTool,
  HubToolChoice,
  HubToolResult,
  JsonObject,
} from '../hub.ts';
import {
  asArray,
  asBoolean,
  asObject,
  asString,
  checkRequest,
  omit,
  parseRequestBody,
} from '../json/parse.ts';
import { parseDataUrl } from '../media.ts';
import { asEffort } from '../reasoning.ts';
import { type ChatMessage, type ChatRequest, chatRequestSchema, KNOWN_REQUEST_MEMBERS } from './schema.ts';
import { SEALED_REASONING_FORMAT } from './carrier.ts';

/** Reads a Chat Completions request into the hub. Throws bad_json and invalid_request. */
export function decodeChatRequest(body: Buffer): HubRequest {
  const request = checkRequest(chatRequestSchema, parseRequestBody(body));
  const { tools, opaqueTools, toolChoice } = decodeTools(request);
  const { stop } = request;
  return {
    format: 'chat',
    model: request.model,
    stream: request.stream ?? false,
    includeUsage: request.stream_options?.include_usage ?? false,
    messages: decodeMessages(request.messages),
    tools,
    opaqueTools,
    toolChoice,
    parallelToolCalls: request.parallel_tool_calls ?? undefined,
    maxOutputTokens: request.max_completion_tokens ?? request.max_tokens ?? undefined,
    temperature: request.temperature ?? undefined,
    topP: request.top_p ?? undefined,
    topK: request.top_k ?? undefined,
    stop: typeof stop === 'string' ? [stop] : (stop ?? undefined),
    seed: request.seed ?? undefined,
    frequencyPenalty: request.frequency_penalty ?? undefined,
    presencePenalty: request.presence_penalty ?? undefined,
    candidateCount: request.n ?? undefined,
    logprobs: request.logprobs ?? undefined,
    topLogprobs: request.top_logprobs ?? undefined,
    reasoning: decodeReasoning(request),
    outputFormat: decodeOutputFormat(request),
    user: request.safety_identifier ?? request.user ?? undefined,
    serviceTier: decodeServiceTier(request),
    extra: decodeExtra(request),
  };
}

function decodeExtra(request: ChatRequest): JsonObject {
  const streamOptions = omit(request.stream_options ?? {}, new Set(['include_usage']));
  const unknownTier = request.service_tier != null && decodeServiceTier(request) === undefined;
  const unknownEffort = request.reasoning_effort != null && asEffort(request.reasoning_effort) === undefined;
  const unknownFormat = request.response_format != null && decodeOutputFormat(request) === undefined;
  return {
    ...omit(request, KNOWN_REQUEST_MEMBERS),
    ...(Object.keys(streamOptions).length > 0 ? { stream_options: streamOptions } : {}),
    ...(unknownTier ? { service_tier: request.service_tier } : {}),
    ...(unknownEffort ? { reasoning_effort: request.reasoning_effort } : {}),
    ...(unknownFormat && request.response_format?.type !== 'text'
      ? { response_format: request.response_format }
      : {}),
  };
}

function decodeMessages(messages: readonly ChatMessage[]): HubMessage[] {
  const decoded: HubMessage[] = [];
  for (const [index, message] of messages.entries()) {
    const place = `messages[${String(index)}]`;
    const previous = decoded.at(-1);
    const afterResults =
      previous?.role === 'user' && previous.content.every((part) => part.kind === 'tool_result');
    if (message.role === 'tool') {
      const result = decodeToolResult(message, place);
      if (afterResults) decoded[decoded.length - 1] = { ...previous, content: [...previous.content, result] };
      else decoded.push({ role: 'user', place, content: [result] });
    } else if (message.role === 'user') {
      const content = decodeContent(message.content, place);
      // Tool results and what the user adds to them are one turn.
      if (afterResults && previous.content.length > 0) {
        decoded[decoded.length - 1] = { ...previous, content: [...previous.content, ...content] };
      } else {
        decoded.push({ role: 'user', place, content, name: message.name ?? undefined });
      }
    } else {
      decoded.push(decodeOtherMessage(message, place));
    }
  }
  return decoded;
}

function decodeOtherMessage(message: ChatMessage, place: string): HubMessage {
  const name = message.name ?? undefined;
  switch (message.role) {
    case 'system':
      return { role: 'system', place, content: decodeContent(message.content, place), name };
    case 'developer':
      return { role: 'system', place, developer: true, content: decodeContent(message.content, place), name };
    case 'assistant':
      return { role: 'assistant', place, content: decodeAssistantContent(message, place), name };
    default:
      // The deprecated `function` role: answers of a calling scheme that has no call ids.
      return {
        role: 'user',
        place,
        content: [{ kind: 'opaque', format: 'chat', value: { type: message.role } }],
      };
  }
}

function decodeToolResult(message: ChatMessage, place: string): HubToolResult {
  if (message.tool_call_id == null) {
    throw new LimenError('invalid_request', `The field '${place}.tool_call_id' is required.`, {
      param: `${place}.tool_call_id`,
    });
  }
  return {
    kind: 'tool_result',
    toolCallId: message.tool_call_id,
    content: decodeContent(message.content, place),
    isError: false,
    cacheMarker: asObject(message['cache_control']),
  };
}

function decodeContent(content: ChatMessage['content'], place: string): HubPart[] {
  if (content === null || content === undefined) return [];
  if (typeof content === 'string') return [{ kind: 'text', text: content }];
  return content.map((part, index) => decodePart(part, `${place}.content[${String(index)}]`));
}

function decodePart(part: JsonObject, place: string): HubPart {
  const cacheMarker = decodeCacheMarker(part);
  switch (part['type']) {
    case 'text':
      return { kind: 'text', text: requireString(part['text'], `${place}.text`), cacheMarker };
    case 'refusal':
      return { kind: 'refusal', text: requireString(part['refusal'], `${place}.refusal`) };
    case 'image_url': {
      const image = asObject(part['image_url']);
      const url = requireString(image?.['url'], `${place}.image_url.url`);
      const source = parseDataUrl(url) ?? { kind: 'url', url };
      return { kind: 'image', source, detail: asString(image?.['detail']), cacheMarker };
    }
    case 'file':
      return decodeFile(part, place, cacheMarker);
    case 'input_audio': {
      const audio = asObject(part['input_audio']);
      const data = requireString(audio?.['data'], `${place}.input_audio.data`);
      return { kind: 'audio', data, audioFormat: asString(audio?.['format']) ?? 'wav', cacheMarker };
    }
    default:
      return { kind: 'opaque', format: 'chat', value: part };
  }
}

function decodeFile(part: JsonObject, place: string, cacheMarker: CacheMarker | undefined): HubPart {
  const file = asObject(part['file']);
  const title = asString(file?.['filename']);
  const fileId = asString(file?.['file_id']);
  if (fileId !== undefined) return { kind: 'document', source: { kind: 'file', fileId }, title, cacheMarker };
  const data = requireString(file?.['file_data'], `${place}.file.file_data`);
  const source = parseDataUrl(data) ?? { kind: 'base64', mediaType: 'application/pdf', data };
  return { kind: 'document', source, title, cacheMarker };
}

/** `cache_control` as several OpenAI-compatible gateways take it, or OpenAI's own explicit breakpoint. */
function decodeCacheMarker(part: JsonObject): CacheMarker | undefined {
  const marker = asObject(part['cache_control']);
  if (marker !== undefined) return marker;
  return asObject(part['prompt_cache_breakpoint']) === undefined ? undefined : { type: 'ephemeral' };
}

function requireString(value: unknown, param: string): string {
  if (typeof value === 'string') return value;
  throw new LimenError('invalid_request', `The field '${param}' must be a string.`, { param });
}

function decodeAssistantContent(message: ChatMessage, place: string): HubPart[] {
  const parts: HubPart[] = [];
  for (const detail of message.reasoning_details ?? []) {
    const sealed = asString(detail['data']);
    if (detail['format'] === SEALED_REASONING_FORMAT && sealed !== undefined) {
      parts.push({ kind: 'sealed_reasoning', sealed });
    }
  }
  const reasoning = message.reasoning_content ?? asString(message['reasoning']);
  if (parts.length === 0 && reasoning) parts.push({ kind: 'thinking', text: reasoning });
  parts.push(...decodeContent(message.content, place));
  if (message.refusal) parts.push({ kind: 'refusal', text: message.refusal });
  for (const [index, call] of (message.tool_calls ?? []).entries()) {
    const callPlace = `${place}.tool_calls[${String(index)}]`;
    const called = asObject(call['function']);
    if (called === undefined) {
      parts.push({ kind: 'opaque', format: 'chat', value: call });
      continue;
    }
    parts.push({
      kind: 'tool_call',
      id: call.id,
      name: requireString(called['name'], `${callPlace}.function.name`),
      argumentsJson: requireString(called['arguments'], `${callPlace}.function.arguments`),
      cacheMarker: asObject(call['cache_control']),
    });
  }
  return parts;
}

interface DecodedTools {
  readonly tools: HubTool[];
  readonly opaqueTools: HubOpaqueTool[];
  readonly toolChoice: HubToolChoice | undefined;
}

function decodeTools(request: ChatRequest): DecodedTools {
  const tools: HubTool[] = [];
  const opaqueTools: HubOpaqueTool[] = [];
  for (const [index, tool] of (request.tools ?? []).entries()) {
    const definition = asObject(tool['function']);
    if (tool.type !== 'function' || definition === undefined) {
      opaqueTools.push({ format: 'chat', value: tool });
      continue;
    }
    tools.push({
      name: requireString(definition['name'], `tools[${String(index)}].function.name`),
      description: asString(definition['description']),
      parameters: asObject(definition['parameters']),
      strict: asBoolean(definition['strict']),
      cacheMarker: asObject(tool['cache_control']) ?? asObject(definition['cache_control']),
    });
  }
  const choice = request.tool_choice;
  if (isAllowedTools(choice)) return { ...narrowTools(tools, choice), opaqueTools };
  return { tools, opaqueTools, toolChoice: decodeToolChoice(choice) };
}

function isAllowedTools(choice: ChatRequest['tool_choice']): choice is { type: string } & JsonObject {
  return typeof choice === 'object' && choice !== null && choice.type === 'allowed_tools';
}

/** `allowed_tools` offers some of the tools: for a target without it, offering only those is the same. */
function narrowTools(
  tools: readonly HubTool[],
  choice: JsonObject,
): { tools: HubTool[]; toolChoice: HubToolChoice } {
  const allowed = asObject(choice['allowed_tools']);
  const names = new Set(
    asArray(allowed?.['tools']).map((tool) => asString(asObject(asObject(tool)?.['function'])?.['name'])),
  );
  return {
    tools: tools.filter((tool) => names.has(tool.name)),
    toolChoice: { kind: allowed?.['mode'] === 'required' ? 'any' : 'auto' },
  };
}

function decodeToolChoice(choice: ChatRequest['tool_choice']): HubToolChoice | undefined {
  if (choice === null || choice === undefined) return undefined;
  if (choice === 'auto' || choice === 'none') return { kind: choice };
  if (choice === 'required') return { kind: 'any' };
  const name = typeof choice === 'object' ? asString(asObject(choice['function'])?.['name']) : undefined;
  if (name !== undefined) return { kind: 'tool', name };
  throw new LimenError(
    'invalid_request',
    "The field 'tool_choice' must be auto, none, required or name a function.",
    { param: 'tool_choice' },
  );
}

function decodeReasoning(request: ChatRequest): HubReasoning | undefined {
  const effort = asEffort(request.reasoning_effort);
  if (effort === undefined) return undefined;
  return effort === 'none' ? { enabled: false, effort } : { effort };
}

function decodeOutputFormat(request: ChatRequest): HubOutputFormat | undefined {
  const format = request.response_format;
  if (format?.type === 'json_object') return { kind: 'json_object' };
  if (format?.type !== 'json_schema') return undefined;
  const definition = asObject(format['json_schema']);
  const schema = asObject(definition?.['schema']);
  if (schema === undefined) {
    throw new LimenError('invalid_request', "The field 'response_format.json_schema.schema' is required.", {
      param: 'response_format.json_schema.schema',
    });
  }
  return {
    kind: 'json_schema',
    schema,
    name: asString(definition?.['name']),
    description: asString(definition?.['description']),
    strict: asBoolean(definition?.['strict']),
  };
}

function decodeServiceTier(request: ChatRequest): HubRequest['serviceTier'] {
  switch (request.service_tier) {
    case 'auto':
    case 'flex':
    case 'priority':
      return request.service_tier;
    case 'default':
      return 'standard';
    default:
      return undefined;
  }
}
