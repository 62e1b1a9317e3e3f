import { createHash } from 'node:crypto';
import { beforeEach, describe, expect, test } from 'vitest';
import type { Dialect, ScriptedUpstream } from '../support/upstream/index.ts';
import { resetBeforeHeaders } from '../support/upstream/index.ts';
import type { ClientDriver, Conversation, ReceivedToolCall, Target, ToolDefinition, Turn } from './driver.ts';

/** Where a suite of scenarios runs: a client, pointed somewhere that reaches a scripted upstream in the end. */
export interface ScenarioSetting {
  readonly driver: ClientDriver;
  /** Known only when the suite's servers run. */
  target(): Target;
  /** Model name that the client asks for. */
  readonly model: string;
  /** Model name that the upstream must get. */
  readonly upstreamModel: string;
  upstream(): ScriptedUpstream;
  readonly dialect: Dialect;
  /** Header and value by which the upstream must get its credential. */
  readonly upstreamCredential: readonly [name: string, value: string];
  /** Whether a gateway stands between: it has a key and words of its own. */
  readonly throughGateway: boolean;
}

const weather: ToolDefinition = {
  name: 'get_weather',
  description: 'Weather of a city',
  parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
};
const time: ToolDefinition = {
  name: 'get_time',
  description: 'Time in a city',
  parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
};

const STORY = ['Once ', 'upon ', 'a ', 'time — ', '“über” ', '🙂.'];
/** A red dot, the smallest PNG that viewers accept. */
const PICTURE =
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==';
const LEAVE_WITHIN_MS = 1_000;

/** Runs `check` for whole and streamed answers. */
const EITHER_WAY = [
  { way: 'whole', stream: false },
  { way: 'streamed', stream: true },
] as const;

/** `type` of an error for which the client is not to blame. */
const SERVER_ERROR_TYPE: Readonly<Record<ClientDriver['kind'], string>> = {
  openai: 'server_error',
  'openai-responses': 'server_error',
  anthropic: 'api_error',
  gemini: 'UNAVAILABLE',
};

/** Token counts by one vocabulary, out of the client's own usage object. */
function tokensOf(driver: ClientDriver, turn: Turn | undefined) {
  const usage = turn?.usage ?? {};
  const count = (...path: string[]): number => {
    let value: unknown = usage;
    for (const name of path) {
      value = typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined;
    }
    return typeof value === 'number' ? value : 0;
  };
  if (driver.kind === 'openai') {
    return {
      input: count('prompt_tokens'),
      output: count('completion_tokens'),
      cachedInput: count('prompt_tokens_details', 'cached_tokens'),
      reasoning: count('completion_tokens_details', 'reasoning_tokens'),
    };
  }
  if (driver.kind === 'openai-responses') {
    return {
      input: count('input_tokens'),
      output: count('output_tokens'),
      cachedInput: count('input_tokens_details', 'cached_tokens'),
      reasoning: count('output_tokens_details', 'reasoning_tokens'),
    };
  }
  if (driver.kind === 'gemini') {
    const reasoning = count('thoughtsTokenCount');
    return {
      input: count('promptTokenCount'),
      output: count('candidatesTokenCount') + reasoning,
      cachedInput: count('cachedContentTokenCount'),
      reasoning,
    };
  }
  const cachedInput = count('cache_read_input_tokens');
  return {
    input: count('input_tokens') + cachedInput + count('cache_creation_input_tokens'),
    output: count('output_tokens'),
    cachedInput,
    reasoning: count('output_tokens_details', 'thinking_tokens'),
  };
}

const FINISH = {
  openai: { stop: 'stop', length: 'length', tools: 'tool_calls' },
  'openai-responses': { stop: 'completed', length: 'max_output_tokens', tools: 'completed' },
  gemini: { stop: 'STOP', length: 'MAX_TOKENS', tools: 'STOP' },
  anthropic: { stop: 'end_turn', length: 'max_tokens', tools: 'tool_use' },
} as const;

/** Calls without their ids. */
function withoutIds(calls: readonly ReceivedToolCall[] | undefined): readonly object[] | undefined {
  return calls?.map(({ name, arguments: values }) => ({ name, arguments: values }));
}

/** Calls as they are, or without their ids where the provider has none. */
function withIds(calls: readonly ReceivedToolCall[], hasIds: boolean): readonly object[] | undefined {
  return hasIds ? calls : withoutIds(calls);
}

/** The scenarios of a governed model call, for one client and one provider. */
export function describeScenarios(setting: ScenarioSetting): void {
  const { driver, dialect, model } = setting;
  const finish = FINISH[driver.kind];
  const ask = (conversation: Partial<Conversation> & { stream: boolean }) =>
    driver.converse(setting.target(), {
      model,
      prompt: 'Tell me a story.',
      includeUsage: true,
      maxRetries: 0,
      ...conversation,
    });

  beforeEach(() => {
    setting.upstream().reset();
  });

  describe(`${driver.name} → ${dialect.kind}`, () => {
    /** Gemini's models call tools without an id: the gateway makes one, the same in both turns. */
    const hasIds = dialect.kind !== 'gemini';

    function expectCleanRequests(): void {
      const upstream = setting.upstream();
      upstream.expectCredential(...setting.upstreamCredential);
      upstream.expectNotSent(...(setting.throughGateway ? [setting.target().key] : []));
      for (const request of upstream.requests) {
        const { model: sent, stream } = dialect.read(request);
        // A client of its own may know another version of the path.
        const path = setting.throughGateway ? dialect.pathFor(sent, stream) : request.path;
        expect(request.path).toBe(path);
        expect(sent).toBe(setting.upstreamModel);
      }
    }

    test.each(EITHER_WAY)('answers in the client’s words, $way', async ({ stream }) => {
      // Converse tells nothing of reasoning.
      const usage = {
        input: 120,
        output: 34,
        cachedInput: 64,
        reasoning: dialect.kind === 'bedrock' ? 0 : 20,
      };
      setting.upstream().next(dialect.answer({ text: STORY, usage }));
      const { turns, error } = await ask({ stream, system: 'You tell stories.', maxOutputTokens: 77 });
      expect(error).toBeNull();
      expect(turns).toHaveLength(1);
      expect(turns[0]?.text).toBe(STORY.join(''));
      expect(turns[0]?.finish).toBe(finish.stop);
      expect(turns[0]?.pieces).toBe(stream ? STORY.length : 1);
      expect(tokensOf(driver, turns[0])).toEqual(usage);
      expectCleanRequests();
      const sent = dialect.read(setting.upstream().only());
      expect(sent).toMatchObject({ stream, system: 'You tell stories.', maxOutputTokens: 77, stop: [] });
    });

    test.each(EITHER_WAY)('passes stop sequences and the output limit on, $way', async ({ stream }) => {
      setting
        .upstream()
        .next(
          dialect.answer({ text: ['cut'], finish: 'stop_sequence', stopSequence: 'END' }),
          dialect.answer({ text: ['cut'], finish: 'length' }),
        );
      const stopped = await ask({ stream, stop: ['END', 'FIN'] });
      expect(stopped.error).toBeNull();
      const told = driver.kind === 'anthropic' && dialect.kind === 'anthropic';
      const knows = driver.kind === 'anthropic' && dialect.kind === 'bedrock';
      expect(stopped.turns[0]?.finish).toBe(told || knows ? 'stop_sequence' : finish.stop);
      expect(stopped.turns[0]?.stopSequence).toBe(told ? 'END' : null);
      const saysStop = driver.kind !== 'openai-responses' && dialect.kind !== 'openai-responses';
      expect(dialect.read(setting.upstream().only()).stop).toEqual(saysStop ? ['END', 'FIN'] : []);
      const limited = await ask({ stream, maxOutputTokens: 3 });
      expect(limited.turns[0]?.finish).toBe(finish.length);
      // Responses takes no limit below 16.
      const least = dialect.kind === 'openai-responses' && driver.kind !== dialect.kind ? 16 : 3;
      expect(dialect.read(setting.upstream().last()).maxOutputTokens).toBe(least);
    });

    test.each(EITHER_WAY)('carries tools over two turns, $way', async ({ stream }) => {
      const id = 'call_one';
      const call = { id, name: 'get_weather', arguments: { city: 'Zürich "Nord"', n: [1, 2.5, null] } };
      setting
        .upstream()
        .next(
          dialect.answer({ text: ['Let me look.'], toolCalls: [call] }),
          dialect.answer({ text: ['It ', 'rains.'] }),
        );
      const { turns, error } = await ask({
        stream,
        prompt: 'Weather in Zürich?',
        tools: [weather, time],
        toolResults: { get_weather: 'rain, 7 °C' },
      });
      expect(error).toBeNull();
      expect(turns.map((turn) => turn.finish)).toEqual([finish.tools, finish.stop]);
      expect(withoutIds(turns[0]?.toolCalls)).toEqual(withoutIds([call]));
      expect(turns[0]?.text).toBe('Let me look.');
      expect(turns[1]?.text).toBe('It rains.');
      const [first, second] = setting.upstream().requests;
      if (!first || !second) throw new Error('Two requests were to come.');
      expect(dialect.read(first).toolNames).toEqual(['get_weather', 'get_time']);
      const sent = dialect.read(second);
      expect(withIds(sent.toolCalls, hasIds)).toEqual(withIds([call], hasIds));
      expect(sent.toolResults).toEqual([{ id: sent.toolCalls[0]?.id, text: 'rain, 7 °C' }]);
      expectCleanRequests();
    });

    test.each(EITHER_WAY)('carries parallel tool calls, $way', async ({ stream }) => {
      const calls = ['a', 'b', 'c'].map((letter, index) => ({
        id: `call_${letter}`,
        name: index === 1 ? 'get_time' : 'get_weather',
        arguments: { city: letter },
      }));
      setting.upstream().next(dialect.answer({ toolCalls: calls }), dialect.answer({ text: ['Done.'] }));
      const { turns, error } = await ask({
        stream,
        prompt: 'Everything, everywhere.',
        tools: [weather, time],
        toolResults: { get_weather: 'sun', get_time: 'noon' },
      });
      expect(error).toBeNull();
      expect(withoutIds(turns[0]?.toolCalls)).toEqual(withoutIds(calls));
      expect(turns[1]?.text).toBe('Done.');
      const sent = dialect.read(setting.upstream().last());
      expect(hasIds ? sent.toolCalls : withoutIds(sent.toolCalls)).toEqual(
        hasIds ? calls : withoutIds(calls),
      );
      expect(sent.toolResults).toEqual([
        { id: sent.toolCalls[0]?.id, text: 'sun' },
        { id: sent.toolCalls[1]?.id, text: 'noon' },
        { id: sent.toolCalls[2]?.id, text: 'sun' },
      ]);
    });

    test.each(EITHER_WAY)('carries an image, $way', async ({ stream }) => {
      setting.upstream().next(dialect.answer({ text: ['A red dot.'] }));
      const { turns } = await ask({ stream, image: { mediaType: 'image/png', base64: PICTURE } });
      expect(turns[0]?.text).toBe('A red dot.');
      const sha256 = createHash('sha256').update(Buffer.from(PICTURE, 'base64')).digest('hex');
      expect(dialect.read(setting.upstream().only()).images).toEqual([{ mediaType: 'image/png', sha256 }]);
    });

    test('reads a compressed answer', async () => {
      setting.upstream().always(dialect.gzipped({ text: STORY }));
      const { turns, error } = await ask({ stream: false });
      expect([error, turns[0]?.text]).toEqual([null, STORY.join('')]);
    });

    const statuses = dialect.errorStatuses.map((status) => ({ status }));
    test.each(statuses)('raises the right exception for $status', async ({ status }) => {
      // A gateway tries failures that may pass again: it must get the same answer each time.
      setting.upstream().always(dialect.error(status, { retryAfterSeconds: 7 }));
      for (const stream of [false, true]) {
        const { error } = await ask({ stream });
        // The upstream's own 401 and 403 are about the operator's credential: no business of the client's.
        const expected = setting.throughGateway && (status === 401 || status === 403) ? 502 : status;
        expect(error?.classes).toContain(exceptionFor(driver, expected));
        expect(error?.status).toBe(expected);
        // AWS says nothing of when to try again.
        const told = status === 429 && dialect.kind !== 'bedrock';
        expect(error?.retryAfter).toBe(told ? '7' : null);
        expect(error?.type).toEqual(expect.any(String));
        // Google's client shows no header, and Google's own errors have no id in their body.
        const nameless = driver.kind === 'gemini' && dialect.kind === 'gemini';
        expect(nameless || typeof error?.requestId === 'string').toBe(true);
      }
      expectCleanRequests();
    });

    // Google's client tries nothing again by itself; the gateway does.
    const whoTries = driver.kind !== 'gemini' ? ['client'] : setting.throughGateway ? ['gateway'] : [];
    test.each(whoTries)('recovers by a retry of the %s', async () => {
      setting.upstream().always(dialect.answer({ text: ['again'] }));
      // As many failures as the gateway tries itself would hide them from the client; it must recover either way.
      setting.upstream().next(dialect.error(429, { retryAfterSeconds: 0 }));
      const { turns, error } = await driver.converse(setting.target(), {
        model,
        prompt: 'Hi',
        stream: false,
      });
      expect(error).toBeNull();
      expect(turns[0]?.text).toBe('again');
      expect(setting.upstream().requests).toHaveLength(2);
    });

    test.each(EITHER_WAY)('raises when the upstream never answers, $way', async ({ stream }) => {
      setting.upstream().always(resetBeforeHeaders());
      const { error, turns } = await ask({ stream });
      expect(turns.every((turn) => turn.finish === null)).toBe(true);
      expect(error?.classes).toContain(
        setting.throughGateway ? exceptionFor(driver, 502) : unreachableFor(driver),
      );
      expect(setting.throughGateway ? [502, 503] : [null]).toContain(error?.status);
      // In the shape of the API that was called, whatever the upstream's.
      expect([error?.code, error?.type]).toEqual(
        setting.throughGateway ? ['upstream_reset', SERVER_ERROR_TYPE[driver.kind]] : [null, null],
      );
    });

    test.each(['reset', 'cut'] as const)('never ends a broken stream cleanly: %s', async (how) => {
      setting.upstream().next(dialect.broken({ text: STORY }, { deltas: 3, how }));
      const { turns, error } = await ask({ stream: true });
      expect(error).not.toBeNull();
      // A gateway that is slower than the upstream breaks has begun no answer yet, and says what became of it.
      expect(setting.throughGateway ? [null, 502] : [null]).toContain(error?.status ?? null);
      expect(turns[0]?.finish ?? null).toBeNull();
      expect(STORY.join('').startsWith(turns[0]?.text ?? '')).toBe(true);
      expect(setting.upstream().requests).toHaveLength(1);
    });

    test('never makes a finish up for a stream that stopped short', async () => {
      setting.upstream().next(dialect.broken({ text: STORY }, { deltas: 3, how: 'early-end' }));
      const { turns, error } = await ask({ stream: true });
      expect(turns[0]?.finish ?? null).toBeNull();
      // A converter knows that the ending is missing; bytes that only pass through show it as it is.
      expect(error !== null || driver.kind === dialect.kind).toBe(true);
    });

    test('raises an error event of the upstream in mid-stream', async () => {
      setting.upstream().next(dialect.errorEvent({ text: STORY }, { deltas: 2 }));
      const { turns, error } = await ask({ stream: true });
      expect(error?.classes).toContain(driver.kind === 'gemini' ? 'ApiError' : 'APIError');
      expect(error?.message.toLowerCase()).toMatch(/overloaded|server had an error|failed in mid-stream/);
      expect(turns[0]?.text).toBe(STORY.slice(0, 2).join(''));
      expect(turns[0]?.finish ?? null).toBeNull();
    });

    test('tells the upstream within a second that the client left', async () => {
      setting.upstream().next(dialect.endless('more ', { paceMs: 10 }));
      const { turns } = await ask({ stream: true, leaveAfterPieces: 3 });
      const left = performance.now();
      expect(turns[0]).toMatchObject({ left: true, finish: null });
      const closed = await setting.upstream().only().closed;
      expect(closed.by).toBe('peer');
      expect(closed.at - left).toBeLessThan(LEAVE_WITHIN_MS);
    });
  });
}

/** The exception class that each client documents for a status; a subclass of it counts too. */
export function exceptionFor(driver: ClientDriver, status: number): string {
  // Google's client has one class for all.
  if (driver.kind === 'gemini') return 'ApiError';
  switch (status) {
    case 400:
      return 'BadRequestError';
    case 401:
      return 'AuthenticationError';
    case 403:
      return 'PermissionDeniedError';
    case 404:
      return 'NotFoundError';
    case 413:
      // The openai client has no class of its own for it.
      return driver.kind === 'anthropic' ? 'ContentTooLargeError' : 'APIError';
    case 429:
      return 'RateLimitError';
    default:
      return 'InternalServerError';
  }
}

/** What each client raises where nobody answers. */
function unreachableFor(driver: ClientDriver): string {
  return driver.kind === 'gemini' ? 'Error' : 'APIConnectionError';
}
