import { createServer, type Server } from 'node:http';
import Anthropic from '@anthropic-ai/sdk';
import { GoogleGenAI } from '@google/genai';
import fc from 'fast-check';
import { countTokens } from 'gpt-tokenizer/encoding/o200k_base';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { ClientFormatName } from '../formats/hub.ts';
import { ANSWER_FOLDERS, feed, fixture, fixtureNames } from './__fixtures__/support.ts';
import { createResponseTransform } from './response-transform.ts';
import { OutputMeter } from './response/output-meter.ts';
import { DEFAULT_RESPONSE_LIMITS, type ResponseTransform } from './response/transform.ts';

/** Every kind of stream, ended early for a client of every format, read by the official clients. */

const CELLS = ANSWER_FOLDERS.flatMap((answers) =>
  answers.clients.flatMap((client) =>
    (client === 'gemini' ? (['sse', 'json-array'] as const) : (['sse'] as const)).map((framing) => ({
      ...answers,
      client,
      framing,
    })),
  ),
);
type Cell = (typeof CELLS)[number];

function cellOf(folder: string, client: ClientFormatName): Cell {
  const found = CELLS.find((cell) => cell.folder === folder && cell.client === client);
  if (found === undefined) throw new Error(`no answers of ${folder} for ${client}`);
  return found;
}

/** What a client has of an answer. */
interface Read {
  readonly finish: unknown;
  readonly text: string;
  /** Arguments of its calls. */
  readonly calls: readonly string[];
  readonly outputTokens: number | undefined;
}

/** Google's client reads events alone: what is in an array is one, too. */
function asEvents(array: Buffer): Buffer {
  if (!array.toString().startsWith('[')) return array;
  const elements = z.array(z.unknown()).parse(JSON.parse(array.toString()));
  return Buffer.from(elements.map((element) => `data: ${JSON.stringify(element)}\n\n`).join(''));
}

function transformOf(cell: Cell, tokens: number | undefined, maxHeldBytes?: number): ResponseTransform {
  // Gemini's own stream is asked for in the client's framing.
  const isArray = cell.folder === 'gemini' && cell.client === 'gemini' && cell.framing === 'json-array';
  return createResponseTransform({
    clientFormat: cell.client,
    target: cell.target,
    status: 200,
    headers: { 'content-type': isArray ? 'application/json' : cell.contentType },
    stream: true,
    framing: cell.framing,
    exposeUsage: true,
    requestedModel: 'fast',
    created: 1763700123,
    requestId: 'req-1',
    limits: { ...DEFAULT_RESPONSE_LIMITS, ...(maxHeldBytes === undefined ? {} : { maxHeldBytes }) },
    ...(tokens === undefined ? {} : { cutOff: { tokens, inputEstimate: 77, countTokens } }),
  });
}

const namesOf = (cell: Cell): string[] => fixtureNames(cell.folder, cell.streams);

let server: Server;
let googleUrl = '';
let googleAnswer: Buffer = Buffer.alloc(0);

beforeAll(async () => {
  server = createServer((_, outgoing) => {
    outgoing.writeHead(200, { 'content-type': 'text/event-stream' });
    outgoing.end(googleAnswer);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  googleUrl = `http://127.0.0.1:${String(typeof address === 'object' && address !== null ? address.port : 0)}`;
});

afterAll(async () => {
  await new Promise((resolve) => server.close(resolve));
});

async function read({ client, framing }: Pick<Cell, 'client' | 'framing'>, bytes: Buffer): Promise<Read> {
  const fetch = () =>
    Promise.resolve(
      new Response(new Uint8Array(bytes), { headers: { 'content-type': 'text/event-stream' } }),
    );
  const messages = [{ role: 'user' as const, content: 'Hi' }];
  switch (client) {
    case 'chat': {
      const openai = new OpenAI({ apiKey: 'k', fetch, maxRetries: 0 });
      const final = await openai.chat.completions.stream({ model: 'fast', messages }).finalChatCompletion();
      const choice = final.choices[0];
      return {
        finish: choice?.finish_reason,
        text: choice?.message.content ?? '',
        calls: (choice?.message.tool_calls ?? []).map((call) =>
          call.type === 'function' ? call.function.arguments : '',
        ),
        outputTokens: final.usage?.completion_tokens,
      };
    }
    case 'responses': {
      const openai = new OpenAI({ apiKey: 'k', fetch, maxRetries: 0 });
      const final = await openai.responses.stream({ model: 'fast', input: 'Hi' }).finalResponse();
      return {
        finish: [final.status, final.incomplete_details?.reason],
        text: final.output_text,
        calls: final.output.flatMap((item) => (item.type === 'function_call' ? [item.arguments] : [])),
        outputTokens: final.usage?.output_tokens,
      };
    }
    case 'messages': {
      const anthropic = new Anthropic({ apiKey: 'k', fetch, maxRetries: 0 });
      const final = await anthropic.messages
        .stream({ model: 'fast', max_tokens: 9, messages })
        .finalMessage();
      return {
        finish: final.stop_reason,
        text: final.content.flatMap((block) => (block.type === 'text' ? [block.text] : [])).join(''),
        calls: final.content.flatMap((block) =>
          block.type === 'tool_use' ? [JSON.stringify(block.input)] : [],
        ),
        outputTokens: final.usage.output_tokens,
      };
    }
    case 'gemini': {
      googleAnswer = framing === 'sse' ? bytes : asEvents(bytes);
      const google = new GoogleGenAI({
        apiKey: 'k',
        httpOptions: { baseUrl: googleUrl, retryOptions: { attempts: 1 } },
      });
      const stream = await google.models.generateContentStream({ model: 'fast', contents: 'Hi' });
      const result = { finish: undefined as unknown, text: '', calls: [] as string[], outputTokens: 0 };
      for await (const { candidates, usageMetadata } of stream) {
        result.finish = candidates?.[0]?.finishReason ?? result.finish;
        for (const part of candidates?.[0]?.content?.parts ?? []) {
          if (part.thought !== true) result.text += part.text ?? '';
          if (part.functionCall) result.calls.push(JSON.stringify(part.functionCall.args));
        }
        const { candidatesTokenCount = 0, thoughtsTokenCount = 0 } = usageMetadata ?? {};
        result.outputTokens = candidatesTokenCount + thoughtsTokenCount;
      }
      return result;
    }
  }
}

const CUT: Readonly<Record<ClientFormatName, unknown>> = {
  chat: 'length',
  responses: ['incomplete', 'max_output_tokens'],
  messages: 'max_tokens',
  gemini: 'MAX_TOKENS',
};

const whole = (json: string): unknown => JSON.parse(json === '' ? '{}' : json);

describe.each(CELLS)('$folder for a $client client ($framing), cut off', (cell) => {
  const streams = namesOf(cell).filter((name) => /^(?:text|tools|thinking|reasoning)\./.test(name));

  it.each(streams)(
    'has a proper end wherever %s is cut, and any split of it the same bytes',
    async (name) => {
      const bytes = fixture(`${cell.folder}/${name}`);
      let cuts = 0;
      for (let tokens = 1; tokens < 60; tokens += 1) {
        const answer = transformOf(cell, tokens);
        const expected = feed(answer, bytes);
        expect(answer.outcome).toBe('complete');
        if (!answer.isCut) break;
        cuts += 1;
        expect(answer.over).toBe(true);
        expect(answer.countedTokens).toBeGreaterThanOrEqual(tokens);
        const split = transformOf(cell, tokens);
        expect(
          feed(
            split,
            bytes,
            Array.from(bytes, (_, index) => index),
          ),
        ).toEqual(expected);
        fc.assert(
          fc.property(fc.array(fc.nat(), { maxLength: 9 }), (places) => {
            expect(feed(transformOf(cell, tokens), bytes, places)).toEqual(expected);
          }),
          { numRuns: 3 },
        );
        const client = await read(cell, expected);
        expect(client.finish).toEqual(CUT[cell.client]);
        expect(client.outputTokens).toBe(answer.countedTokens);
        expect(client.calls.map(whole)).toEqual(client.calls.map(() => expect.any(Object)));
      }
      expect(cuts).toBeGreaterThan(0);
    },
  );

  it.each(streams)('is what it always is where the budget is large enough: %s', async (name) => {
    const bytes = fixture(`${cell.folder}/${name}`);
    const untouched = await read(cell, feed(transformOf(cell, undefined), bytes));
    const answer = transformOf(cell, 100_000);
    const ample = await read(cell, feed(answer, bytes));
    expect(ample).toEqual(untouched);
    expect([answer.isCut, answer.outcome]).toEqual([false, 'complete']);
  });

  it.each(namesOf(cell).filter((name) => /^(?:error|truncated)\./.test(name)))(
    'never makes a good end of %s',
    (name) => {
      const answer = transformOf(cell, 100_000);
      feed(answer, fixture(`${cell.folder}/${name}`));
      expect([answer.isCut, answer.outcome === 'complete']).toEqual([false, false]);
    },
  );
});

describe('calls of tools', () => {
  const cell: Cell = cellOf('openai', 'messages');
  const chunk = (delta: object): string =>
    `data: ${JSON.stringify({ id: 'c', model: 'm', choices: [{ index: 0, delta, finish_reason: null }] })}\n\n`;
  const call = (index: number, json: string): string => {
    const head = { index, id: `call_${String(index)}`, type: 'function' };
    return (
      chunk({ tool_calls: [{ ...head, function: { name: 'run', arguments: json.slice(0, 6) } }] }) +
      chunk({ tool_calls: [{ index, function: { arguments: json.slice(6) } }] })
    );
  };
  const bytes = Buffer.from(
    chunk({ role: 'assistant', content: 'Let me see.' }) +
      call(0, '{"command":"ls /tmp"}') +
      call(1, '{"command":"rm -rf /tmp/old/things that nobody needs any more"}'),
  );

  it('reach the client whole or not at all', async () => {
    const seen = new Set<string>();
    for (let tokens = 1; tokens < 32; tokens += 1) {
      const answer = transformOf(cell, tokens);
      const { calls } = await read(cell, Buffer.concat([answer.push(bytes), answer.end()]));
      seen.add(calls.join());
    }
    expect([...seen]).toEqual(['', '{"command":"ls /tmp"}']);
  });

  it('let the client hear of them while they are held', () => {
    const answer = transformOf(cell, 1000);
    answer.push(bytes);
    const more = chunk({ tool_calls: [{ index: 1, function: { arguments: 'x' } }] }).repeat(40);
    expect(answer.push(Buffer.from(more)).toString()).toContain('event: ping');
  });

  it('are refused where they are larger than may be held', () => {
    const answer = transformOf(cellOf('anthropic', 'messages'), 1000, 10);
    expect(feed(answer, fixture('anthropic/tools.sse')).toString()).toContain('too large');
    expect([answer.outcome, answer.isCut]).toEqual(['error', false]);
  });
});

describe('what is counted', () => {
  it("has the provider's own word in it, of reasoning that is not shown as well", async () => {
    const cell = cellOf('gemini', 'chat');
    const told = (text: string, thoughtsTokenCount: number): string =>
      `data: ${JSON.stringify({
        candidates: [{ content: { parts: [{ text }], role: 'model' }, index: 0 }],
        usageMetadata: { promptTokenCount: 9, candidatesTokenCount: 1, thoughtsTokenCount },
      })}\n\n`;
    const answer = transformOf(cell, 500);
    const first = answer.push(Buffer.from(told('One', 300)));
    expect([answer.isCut, answer.countedTokens]).toEqual([false, 301]);
    const rest = answer.push(Buffer.from(told(' two', 600)));
    expect([answer.isCut, answer.countedTokens, answer.usage?.input]).toEqual([true, 601, 9]);
    const client = await read(cell, Buffer.concat([first, rest]));
    expect([client.finish, client.text]).toEqual(['length', 'One two']);
  });

  it('is never much less than the tokens of the text, and little more, however it comes in pieces', () => {
    const words = ['the', ' quick', ' Überraschung', '\n\n', '日本語', ' 1234', '{"a": ', '😀', ' x'];
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom(...words), { minLength: 30, maxLength: 200 }),
        fc.integer({ min: 1, max: 12 }),
        (parts, size) => {
          const text = parts.join('');
          const meter = new OutputMeter(countTokens);
          for (let start = 0; start < text.length; start += size) {
            meter.read({ kind: 'delta', text: text.slice(start, start + size) });
          }
          const truth = countTokens(text);
          expect(meter.tokens).toBeGreaterThanOrEqual(truth * 0.97);
          expect(meter.tokens).toBeLessThanOrEqual(truth * 1.25 + 4);
        },
      ),
    );
  });

  it('takes no longer for a long text without a space', () => {
    const meter = new OutputMeter(countTokens);
    const started = process.cpuUsage();
    meter.read({ kind: 'delta', text: 'x'.repeat(4_000_000) });
    for (let index = 0; index < 2000; index += 1) meter.read({ kind: 'delta', text: 'xyz' });
    expect(process.cpuUsage(started).user / 1000).toBeLessThan(2000);
    expect(meter.tokens).toBeGreaterThan(100_000);
  });
});
