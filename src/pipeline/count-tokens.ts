import { setImmediate as nextTurn } from 'node:timers/promises';
import type { HubPart, HubRequest, HubSource } from '../formats/hub.ts';
import { JSON_HEADERS, type Answer } from './answer.ts';
import { loadTokenizer, STATED_ERROR, TOKENIZER } from './tokenizer.ts';

/** Around each message: its role and its borders. */
const MESSAGE_TOKENS = 4;
/** An image of the largest size that is not made smaller (Claude docs, "Vision"). */
const IMAGE_TOKENS = 1600;
/** A page of a PDF, at the upper end (Claude docs, "PDF support"), and base64 characters for each page. */
const PAGE_TOKENS = 3000;
const PAGE_CHARACTERS = 100_000;

/** The tokenizer takes time that grows with the square of an unbroken run, so it gets no longer ones. */
const LONGEST_RUN = 256;
/** Characters that are counted one by one; of longer texts the rest is taken to be like them. */
const MOST_COUNTED_CHARACTERS = 262_144;
/** Characters between two turns of the event loop. */
const TURN_CHARACTERS = 8192;

/**
 * The answer to a count for models whose provider does not count: OpenAI's o200k_base over all of the request's text,
 * and fixed numbers for what is no text; the header says how good that is. No provider is asked, nothing is charged.
 */
export async function countedAnswer(request: HubRequest): Promise<Answer> {
  const tokens = await countRequestTokens(request);
  return {
    kind: 'answer',
    status: 200,
    headers: {
      ...JSON_HEADERS,
      'x-limen-token-count': `estimate; tokenizer=${TOKENIZER}; error=${STATED_ERROR}`,
    },
    body: Buffer.from(JSON.stringify({ input_tokens: tokens })),
  };
}

async function countRequestTokens(request: HubRequest): Promise<number> {
  const texts: string[] = [];
  let fixed = 0;
  for (const message of request.messages) {
    fixed += MESSAGE_TOKENS;
    for (const part of message.content) fixed += readPart(part, texts);
  }
  for (const { name, description, parameters, extra } of request.tools) {
    texts.push(name, description ?? '', JSON.stringify(parameters ?? {}), JSON.stringify(extra ?? {}));
  }
  for (const { value } of request.opaqueTools) texts.push(JSON.stringify(value));
  return fixed + (await countTexts(texts));
}

/** Adds the texts of a part, and returns the tokens of what is no text. */
function readPart(part: HubPart, texts: string[]): number {
  switch (part.kind) {
    case 'text':
    case 'thinking':
    case 'refusal':
      texts.push(part.text);
      return 0;
    case 'image':
      return IMAGE_TOKENS;
    case 'document':
      texts.push(part.title ?? '');
      return readDocument(part.source, texts);
    case 'audio':
      return Math.ceil(part.data.length / PAGE_CHARACTERS) * PAGE_TOKENS;
    case 'tool_call':
      texts.push(part.name, part.argumentsJson);
      return 0;
    case 'tool_result':
      return part.content.reduce((sum, inner) => sum + readPart(inner, texts), 0);
    case 'redacted_thinking':
    case 'sealed_reasoning':
      return 0;
    case 'opaque':
      texts.push(JSON.stringify(part.value));
      return 0;
  }
}

function readDocument(source: HubSource, texts: string[]): number {
  if (source.kind === 'text') {
    texts.push(source.text);
    return 0;
  }
  const pages = source.kind === 'base64' ? Math.ceil(source.data.length / PAGE_CHARACTERS) : 1;
  return pages * PAGE_TOKENS;
}

async function countTexts(texts: readonly string[]): Promise<number> {
  const characters = texts.reduce((sum, text) => sum + text.length, 0);
  if (characters === 0) return 0;
  const countTokens = await loadTokenizer();
  let tokens = 0;
  let counted = 0;
  let turn = 0;
  for (const text of texts) {
    for (let start = 0; start < text.length && counted < MOST_COUNTED_CHARACTERS;) {
      const end = endOfPiece(text, start);
      tokens += countTokens(text.slice(start, end));
      counted += end - start;
      turn += end - start;
      start = end;
      if (turn >= TURN_CHARACTERS) {
        turn = 0;
        await nextTurn();
      }
    }
  }
  return Math.ceil((tokens / counted) * characters);
}

/** Pieces end before a space where there is one: there a token ends as well. */
function endOfPiece(text: string, start: number): number {
  const end = start + LONGEST_RUN;
  if (end >= text.length) return text.length;
  const space = text.lastIndexOf(' ', end);
  return space > start ? space : end;
}
