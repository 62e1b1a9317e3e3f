import { asObject, isObject } from '../../formats/json/parse.ts';
import type { JsonObject } from '../../formats/hub.ts';

/** What a prompt can have of tokens, whoever counts them. */
export interface InputMeasure {
  /** A token is at least one byte: the body's, but for inline images, and what providers add by themselves. */
  readonly tokens: number;
  readonly images: number;
  /** It names what lies elsewhere, or has the provider fetch more: its length is not in the body. */
  readonly openEnded: boolean;
  /** What stands where an image belongs may be a file or a video: Google takes those there, all others refuse them. */
  readonly otherMedia: boolean;
}

/**
 * What providers add to a prompt of their own: about 500 tokens where there are tools, more for tools that they define
 * themselves ("tool use system prompt token count" of Anthropic's pricing, at most 804 and 735), instructions for
 * structured output.
 */
const ADDED_FOR_TOOLS = 1024;
const ADDED_FOR_EACH_TOOL = 1024;

/** A prompt that is longer than any that a vendor's documents name (1,048,576 and 1,050,000 tokens). */
const LONGEST_PROMPT = 1_050_000;

/**
 * The most tokens of prompt that a target may count.
 *
 * @param contextTokens of the Model, where it is known: no prompt is longer
 */
export function inputBound(
  { tokens, images, openEnded, otherMedia }: InputMeasure,
  target: Target,
  contextTokens: number | undefined,
): number {
  const counted = tokens + images * imageTokens(target);
  const isOpen = openEnded || (otherMedia && isGoogles(target));
  const bound = isOpen ? Math.max(LONGEST_PROMPT, contextTokens ?? 0) : counted;
  return Math.min(bound, contextTokens ?? Infinity);
}

interface Target {
  readonly type: string;
  readonly model: string;
}

function isGoogles({ type, model }: Target): boolean {
  return type === 'gemini' || (type === 'vertex' && !model.includes('claude')) || model.includes('gemini');
}

/** Bytes of text for each token: the usual four characters. */
const BYTES_PER_TOKEN = 4;

/**
 * Tokens of a prompt that its provider never told: text by its length, all else as the most that it may be. Undefined
 * where the length alone tells as much.
 */
export function untoldInput(
  measure: InputMeasure,
  targets: readonly Target[],
  contextTokens: number | undefined,
): number | undefined {
  const { tokens, images, openEnded, otherMedia } = measure;
  if (images === 0 && !openEnded && !otherMedia) return undefined;
  const usual = { ...measure, tokens: Math.ceil(tokens / BYTES_PER_TOKEN) };
  const most = Math.max(0, ...targets.map((target) => inputBound(usual, target, contextTokens)));
  // No provider would have taken a longer one.
  return Math.min(most, Math.max(LONGEST_PROMPT, contextTokens ?? 0));
}

/** Of gpt-4o-mini: a base of 2,833 and 5,667 for each of at most 8 tiles (OpenAI, "Images and vision"). */
const MOST_IMAGE_TOKENS = 2833 + 8 * 5667;
/** Of OpenAI's other models: at most 10,000 patches, times 2.46 for the smallest of them (the same place). */
const OPENAI_IMAGE_TOKENS = 24_600;
/** Patches of 28 pixels in an image of 2,576 by 2,576 pixels, beyond which it is made smaller (Claude, "Vision"). */
const CLAUDE_IMAGE_TOKENS = 92 * 92;
/** 258 for each of 16 tiles; by `media_resolution`, at most 2,240 (Gemini, "Image understanding", "Media resolution"). */
const GEMINI_IMAGE_TOKENS = 16 * 258;

/** The most tokens that one image may be counted as. */
function imageTokens({ type, model }: Target): number {
  if (model.includes('claude')) return CLAUDE_IMAGE_TOKENS;
  if (model.includes('gemini')) return GEMINI_IMAGE_TOKENS;
  const openai = type === 'openai' || type === 'azure-openai';
  return openai && /^(gpt-[5-9]|gpt-4\.1|gpt-4o(?!-mini)|o[1-9])/.test(model)
    ? OPENAI_IMAGE_TOKENS
    : MOST_IMAGE_TOKENS;
}

/**
 * Reads what a request's length cannot tell. What is not understood counts as open-ended: a provider may know it.
 *
 * @param wire the operation: a client format, or `embeddings`
 * @param body one JSON object that was scanned
 */
export function measureInput(wire: string, body: Buffer): InputMeasure {
  const request = asObject(JSON.parse(body.toString('utf8'))) ?? {};
  const meter = new Meter();
  READERS[wire]?.(request, meter);
  return {
    tokens: body.length - meter.inlineBytes + meter.added,
    images: meter.images,
    openEnded: meter.openEnded || READERS[wire] === undefined,
    otherMedia: meter.otherMedia,
  };
}

class Meter {
  inlineBytes = 0;
  images = 0;
  openEnded = false;
  otherMedia = false;
  added = 0;

  /** @param inline its base64, where it is in the body: not text that anyone reads */
  image(inline: unknown): void {
    this.images += 1;
    if (typeof inline === 'string') this.inlineBytes += inline.length;
  }

  /** @param url of an image: with its bytes, or where they are */
  imageAt(url: unknown): void {
    const isInline = typeof url === 'string' && DATA_URL.test(url);
    this.image(isInline ? url : undefined);
    this.otherMedia ||= typeof url === 'string' && !isInline && !namesImage(url);
  }

  /** @param data base64 */
  audio(data: unknown): void {
    if (typeof data !== 'string' || !isAudioOfUsualRate(data)) this.open();
  }

  open(): void {
    this.openEnded = true;
  }

  /** @param runsElsewhere whether a provider runs such a tool itself, and reads its results */
  tools(tools: unknown, runsElsewhere: (tool: JsonObject) => boolean): void {
    const list = objects(tools);
    if (list.length > 0) this.added += ADDED_FOR_TOOLS + ADDED_FOR_EACH_TOOL * list.filter(isBuiltIn).length;
    if (list.some(runsElsewhere)) this.open();
  }
}

function isBuiltIn({ type }: JsonObject): boolean {
  return type !== undefined && type !== 'function' && type !== 'custom';
}

function objects(value: unknown): JsonObject[] {
  const list: readonly unknown[] = Array.isArray(value) ? value : [value];
  return list.filter(isObject);
}

function has(request: JsonObject, ...names: readonly string[]): boolean {
  return names.some((name) => request[name] !== undefined && request[name] !== null);
}

const DATA_URL = /^data:image\/[a-z0-9.+-]+;base64,/i;

/** Whether an address is of an image by its name: of any other, a provider may take what it finds there. */
function namesImage(address: string): boolean {
  const url = URL.parse(address);
  return (
    (url?.protocol === 'https:' || url?.protocol === 'http:') &&
    /\.(png|jpe?g|webp|gif|heic|heif|bmp|avif)$/i.test(url.pathname)
  );
}

/** Hz below which a second of PCM may have fewer bytes than tokens (Gemini: 32 a second). */
const LEAST_SAMPLE_RATE = 4000;

/**
 * Whether audio has more bytes than tokens: MP3 and AAC have at least 8 kbit/s, PCM as much as its rate. An hour of
 * silence has a few thousand bytes as FLAC or Opus.
 *
 * @param data base64
 */
function isAudioOfUsualRate(data: string): boolean {
  const head = Buffer.from(data.slice(0, 60), 'base64');
  const text = head.toString('latin1');
  if (text.startsWith('ID3') || (head[0] === 0xff && ((head[1] ?? 0) & 0xe0) === 0xe0)) return true;
  const isWave = text.startsWith('RIFF') && text.slice(8, 16) === 'WAVEfmt ' && head.length >= 28;
  return isWave && head.readUInt32LE(24) >= LEAST_SAMPLE_RATE;
}

type Reader = (request: JsonObject, meter: Meter) => void;

const READERS: Readonly<Record<string, Reader>> = {
  chat: (request, meter) => {
    for (const message of objects(request['messages'])) {
      readParts(message['content'], CHAT_PARTS, meter);
      if (asObject(message['audio']) !== undefined) meter.open();
    }
    meter.tools(request['tools'], isBuiltIn);
    if (has(request, 'functions', 'response_format')) meter.added += ADDED_FOR_TOOLS;
    if (has(request, 'web_search_options')) meter.open();
  },
  responses: (request, meter) => {
    for (const item of objects(request['input'])) {
      const type = item['type'] ?? 'message';
      if (typeof type !== 'string' || !RESPONSES_ITEMS.has(type)) meter.open();
      readParts(item['content'], RESPONSES_PARTS, meter);
      readParts(item['output'], RESPONSES_PARTS, meter);
    }
    meter.tools(request['tools'], isBuiltIn);
    if (has(request, 'text')) meter.added += ADDED_FOR_TOOLS;
    if (has(request, 'prompt', 'previous_response_id', 'conversation')) meter.open();
  },
  messages: (request, meter) => {
    readParts(request['system'], MESSAGES_BLOCKS, meter);
    for (const message of objects(request['messages'])) readParts(message['content'], MESSAGES_BLOCKS, meter);
    meter.tools(request['tools'], (tool) => isBuiltIn(tool) && !CLIENT_TOOL.test(String(tool['type'])));
    if (has(request, 'output_format', 'output_config')) meter.added += ADDED_FOR_TOOLS;
    if (has(request, 'mcp_servers', 'container')) meter.open();
  },
  gemini: (request, meter) => {
    const contents = ['contents', 'systemInstruction', 'system_instruction'].flatMap((name) =>
      objects(request[name]),
    );
    for (const { parts } of contents) readGeminiParts(parts, meter);
    meter.tools(request['tools'], (tool) => Object.keys(tool).some((name) => !FUNCTIONS.has(name)));
    const config = asObject(request['generationConfig'] ?? request['generation_config']) ?? {};
    if (has(config, ...GEMINI_SCHEMAS)) meter.added += ADDED_FOR_TOOLS;
    if (has(request, 'cachedContent', 'cached_content')) meter.open();
  },
  // Some servers embed images by their address, and conversations.
  embeddings: (request, meter) => {
    if (objects(request['input']).length > 0 || has(request, 'messages')) meter.open();
  },
};

/** Tools that Anthropic defines and the client runs. */
const CLIENT_TOOL = /^(bash|text_editor|computer|memory)_\d{8}$/;
const GEMINI_SCHEMAS = ['responseSchema', 'response_schema', 'responseJsonSchema', 'response_json_schema'];
const FUNCTIONS: ReadonlySet<string> = new Set(['functionDeclarations', 'function_declarations']);

/** What becomes of a part, by its type; a type that is not here is not known. */
type Parts = Readonly<Record<string, (part: JsonObject, meter: Meter) => void>>;

/** What its bytes bound: text. */
const bytesSuffice = (): void => undefined;

function readAudio({ input_audio: audio }: JsonObject, meter: Meter): void {
  meter.audio(asObject(audio)?.['data']);
}

function readParts(content: unknown, known: Parts, meter: Meter): void {
  for (const part of objects(content)) {
    const type = typeof part['type'] === 'string' ? part['type'] : '';
    const read = Object.hasOwn(known, type) ? known[type] : undefined;
    if (read === undefined) meter.open();
    else read(part, meter);
  }
}

const CHAT_PARTS: Parts = {
  text: bytesSuffice,
  refusal: bytesSuffice,
  input_audio: readAudio,
  image_url: ({ image_url: image }, meter) => meter.imageAt(asObject(image)?.['url'] ?? image),
};

const RESPONSES_ITEMS: ReadonlySet<string> = new Set([
  'message',
  'reasoning',
  'function_call',
  'function_call_output',
  'custom_tool_call',
  'custom_tool_call_output',
  'computer_call',
  'computer_call_output',
  'local_shell_call',
  'local_shell_call_output',
]);
const RESPONSES_PARTS: Parts = {
  input_text: bytesSuffice,
  output_text: bytesSuffice,
  reasoning_text: bytesSuffice,
  refusal: bytesSuffice,
  input_audio: readAudio,
  input_image: ({ image_url: url }, meter) => meter.imageAt(url),
  computer_screenshot: ({ image_url: url }, meter) => meter.imageAt(url),
};

const MESSAGES_BLOCKS: Parts = {
  text: bytesSuffice,
  thinking: bytesSuffice,
  redacted_thinking: bytesSuffice,
  tool_use: bytesSuffice,
  search_result: bytesSuffice,
  tool_result: ({ content }, meter) => readParts(content, MESSAGES_BLOCKS, meter),
  image: ({ source }, meter) => {
    const { type, data, url, media_type: mediaType } = asObject(source) ?? {};
    if (type === 'url') meter.imageAt(url);
    else meter.image(type === 'base64' ? data : undefined);
    meter.otherMedia ||= type === 'base64' && !(typeof mediaType === 'string' && IMAGE_TYPE.test(mediaType));
  },
  document: ({ source }, meter) => {
    const { type, content } = asObject(source) ?? {};
    if (type === 'content') readParts(content, MESSAGES_BLOCKS, meter);
    else if (type !== 'text') meter.open();
  },
};

const IMAGE_TYPE = /^image\//i;

/** Members of a part whose bytes bound them. */
const GEMINI_TEXT: ReadonlySet<string> = new Set([
  'text',
  'thought',
  'thoughtSignature',
  'thought_signature',
  'functionCall',
  'function_call',
  'executableCode',
  'executable_code',
  'codeExecutionResult',
  'code_execution_result',
  'mediaResolution',
  'media_resolution',
]);

function readGeminiParts(parts: unknown, meter: Meter): void {
  for (const part of objects(parts)) {
    for (const [name, value] of Object.entries(part)) {
      if (GEMINI_TEXT.has(name)) continue;
      if (name === 'inlineData' || name === 'inline_data') readInlineData(asObject(value) ?? {}, meter);
      else if (name === 'functionResponse' || name === 'function_response') {
        readGeminiParts(asObject(value)?.['parts'] ?? [], meter);
      } else meter.open();
    }
  }
}

function readInlineData(inline: JsonObject, meter: Meter): void {
  const type = inline['mimeType'] ?? inline['mime_type'];
  if (typeof type !== 'string') meter.open();
  else if (IMAGE_TYPE.test(type)) meter.image(inline['data']);
  else if (/^audio\//i.test(type)) meter.audio(inline['data']);
  else if (!/^text\//i.test(type)) meter.open();
}
