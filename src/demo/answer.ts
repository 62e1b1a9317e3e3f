/** A request to the demo provider, without its wire format. */
export interface DemoRequest {
  readonly model: string;
  readonly stream: boolean;
  /** Whether a stream tells the usage at its end. */
  readonly includeUsage: boolean;
  /** All text of the prompt, system prompt and earlier turns included: what is counted as input. */
  readonly promptText: string;
  /** Text of the last user turn. */
  readonly lastUserText: string;
  readonly imageCount: number;
  readonly tools: readonly DemoTool[];
  /** Results of the tools called last, when they stand at the end of the conversation. */
  readonly toolResults: readonly string[];
  /** Whether tools may, must or must not be called; a name forces that one. */
  readonly toolChoice: 'auto' | 'any' | 'none' | { readonly name: string };
  readonly parallelToolCalls: boolean;
  readonly maxOutputTokens: number | undefined;
  readonly stop: readonly string[];
}

export interface DemoTool {
  readonly name: string;
  /** JSON Schema of its arguments. */
  readonly parameters: Readonly<Record<string, unknown>>;
}

export interface DemoToolCall {
  readonly name: string;
  readonly arguments: Readonly<Record<string, unknown>>;
}

export interface DemoAnswer {
  /** Pieces of text, each counted as one token and streamed as one chunk; empty where tools are called. */
  readonly pieces: readonly string[];
  readonly toolCalls: readonly DemoToolCall[];
  readonly finish: 'stop' | 'length' | 'tool_calls' | 'stop_sequence';
  readonly stopSequence: string | undefined;
  readonly usage: { readonly input: number; readonly output: number };
}

const LONGEST_ECHO = 160;
const CHARACTERS_PER_TOKEN = 4;
const TOKENS_PER_IMAGE = 85;
const TOKENS_PER_TOOL_CALL = 12;

/** The same request always gets the same answer. It says what it is, so that nobody takes it for a model. */
export function composeAnswer(request: DemoRequest): DemoAnswer {
  const input =
    Math.max(1, Math.ceil(request.promptText.length / CHARACTERS_PER_TOKEN)) +
    request.imageCount * TOKENS_PER_IMAGE;
  const toolCalls = wantedTools(request).map((tool) => ({
    name: tool.name,
    arguments: exampleArguments(tool.parameters),
  }));
  if (toolCalls.length > 0) {
    const output = toolCalls.length * TOKENS_PER_TOOL_CALL;
    return { pieces: [], toolCalls, finish: 'tool_calls', stopSequence: undefined, usage: { input, output } };
  }
  const { text, stopSequence } = cutAtStop(answerText(request), request.stop);
  const all = text.match(/\S+\s*/gu) ?? [];
  const pieces = all.slice(0, request.maxOutputTokens ?? all.length);
  const cut = pieces.length < all.length;
  return {
    pieces,
    toolCalls,
    finish: cut ? 'length' : stopSequence === undefined ? 'stop' : 'stop_sequence',
    stopSequence: cut ? undefined : stopSequence,
    usage: { input, output: pieces.length },
  };
}

function answerText(request: DemoRequest): string {
  if (request.toolResults.length > 0) {
    return `This is Limen's demo provider. The tools answered: ${request.toolResults.map(shorten).join(' and ')}.`;
  }
  const images =
    request.imageCount === 0
      ? ''
      : ` I see ${request.imageCount} image${request.imageCount === 1 ? '' : 's'}.`;
  return (
    `Hello from Limen's demo provider: there is no model behind it, and nothing has left this machine. ` +
    `You said: "${shorten(request.lastUserText)}".${images} ` +
    `Name a provider in limen.yaml, or set OPENAI_API_KEY or ANTHROPIC_API_KEY, and a model answers instead.`
  );
}

function shorten(text: string): string {
  const flat = text.replace(/\s+/gu, ' ').trim();
  const characters = Array.from(flat);
  return characters.length <= LONGEST_ECHO ? flat : `${characters.slice(0, LONGEST_ECHO).join('')}…`;
}

function cutAtStop(
  text: string,
  stop: readonly string[],
): { text: string; stopSequence: string | undefined } {
  let end = text.length;
  let stopSequence: string | undefined;
  for (const sequence of stop) {
    const at = sequence === '' ? -1 : text.indexOf(sequence);
    if (at === -1 || at >= end) continue;
    end = at;
    stopSequence = sequence;
  }
  return { text: text.slice(0, end), stopSequence };
}

/** A tool is called when the choice forces it, or when the last user turn names it and no result is there yet. */
function wantedTools(request: DemoRequest): readonly DemoTool[] {
  const { toolChoice, tools } = request;
  if (toolChoice === 'none' || request.toolResults.length > 0) return [];
  if (typeof toolChoice === 'object') return tools.filter((tool) => tool.name === toolChoice.name);
  const prompt = wordsOnly(request.lastUserText);
  const named = tools.filter((tool) => prompt.includes(wordsOnly(tool.name)));
  const wanted = named.length === 0 && toolChoice === 'any' ? tools.slice(0, 1) : named;
  return request.parallelToolCalls ? wanted : wanted.slice(0, 1);
}

function wordsOnly(text: string): string {
  return ` ${text
    .toLowerCase()
    .replace(/[^\p{L}\p{N}]+/gu, ' ')
    .trim()} `;
}

/** Arguments that fit a plain JSON Schema: the required properties, each with its first allowed value. */
function exampleArguments(schema: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const properties = isRecord(schema['properties']) ? schema['properties'] : {};
  const required = Array.isArray(schema['required']) ? schema['required'] : Object.keys(properties);
  const names = required.filter((name) => typeof name === 'string');
  return Object.fromEntries(names.map((name) => [name, exampleValue(properties[name])]));
}

function exampleValue(schema: unknown): unknown {
  if (!isRecord(schema)) return 'demo';
  if ('const' in schema) return schema['const'];
  if (Array.isArray(schema['enum'])) return schema['enum'][0];
  const type: unknown = Array.isArray(schema['type']) ? schema['type'][0] : schema['type'];
  switch (type) {
    case 'integer':
    case 'number':
      return typeof schema['minimum'] === 'number' ? schema['minimum'] : 1;
    case 'boolean':
      return true;
    case 'array':
      return [];
    case 'object':
      return exampleArguments(schema);
    case 'null':
      return null;
    default:
      return 'demo';
  }
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
