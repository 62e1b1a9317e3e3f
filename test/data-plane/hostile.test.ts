import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { ClientFormatName } from '../../src/formats/hub.ts';
import { startDataPlane, type DataPlane, type ProviderInput } from '../support/data-plane.ts';
import type { ClientAnswer } from '../support/data-plane/client.ts';
import { readAnswer } from '../support/data-plane/read-answer.ts';
import { request } from '../support/data-plane/requests.ts';
import { eventually } from '../support/running-envoy.ts';
import {
  anthropic,
  type Answer,
  answer,
  bedrock,
  type Dialect,
  eventStreamFrame,
  gemini,
  openai,
  openaiResponses,
  pause,
  type Script,
  type ScriptedUpstream,
  startUpstream,
  stream,
} from '../support/upstream/index.ts';

const MIB = 1_048_576;
/** Words of a provider that are no client's business, in every hostile body and header. */
const SECRET = 'sk-provider-secret-0123456789';
const TELLING_HEADERS = {
  'set-cookie': `session=${SECRET}`,
  'www-authenticate': `Bearer realm="${SECRET}"`,
  'openai-organization': SECRET,
  'anthropic-organization-id': SECRET,
  'alt-svc': `h3="${SECRET}:443"`,
  'x-limen-internal-verdict': SECRET,
  'x-envoy-upstream-service-time': SECRET,
};
const SAID: Answer = { text: ['It ', 'works.'], usage: { input: 11, output: 7 } };
/** For good answers as well, of which a busy machine converts many at once. */
const STREAM_IDLE_SECONDS = 2;
const REQUEST_SECONDS = 4;

interface Way {
  readonly format: ClientFormatName;
  readonly dialect: Dialect;
}
const NATIVE: readonly Way[] = [
  { format: 'chat', dialect: openai },
  { format: 'responses', dialect: openaiResponses },
  { format: 'messages', dialect: anthropic },
  { format: 'gemini', dialect: gemini },
];
const CONVERTED: readonly Way[] = (['chat', 'responses', 'messages', 'gemini'] as const).flatMap((format) =>
  [openai, openaiResponses, anthropic, gemini, bedrock].flatMap((dialect) =>
    NATIVE.some((way) => way.format === format && way.dialect === dialect) ? [] : [{ format, dialect }],
  ),
);

const DIALECTS = [openai, openaiResponses, anthropic, gemini, bedrock];

function providerInput({ kind }: Dialect, url: string): ProviderInput {
  switch (kind) {
    case 'openai':
      return { type: 'openai', apis: ['chat'], baseUrl: `${url}/v1` };
    case 'openai-responses':
      return { type: 'openai', apis: ['responses'], baseUrl: `${url}/v1` };
    case 'anthropic':
      return { type: 'anthropic', baseUrl: `${url}/v1` };
    case 'gemini':
      return { type: 'gemini', baseUrl: `${url}/v1beta` };
    case 'bedrock':
      return { type: 'bedrock', region: 'us-east-1', baseUrl: url };
  }
}

const JSON_TYPE = { 'content-type': 'application/json', ...TELLING_HEADERS };
const streamType = ({ kind }: Dialect) => ({
  'content-type': kind === 'bedrock' ? 'application/vnd.amazon.eventstream' : 'text/event-stream',
  ...TELLING_HEADERS,
});

const MANY_HEADERS = Object.fromEntries(
  Array.from({ length: 1000 }, (_, index) => [`x-header-${String(index)}`, 'a']),
);
const BOMB = gzipSync(Buffer.alloc(64 * MIB, ' '));

/** A good answer, an error in place of one, an error at the end of a stream, or neither. */
type Outcome = 'answered' | 'refused' | 'told' | 'broken off' | 'something else';

/** The gateway's own code in an error of the format's own shape. */
function codeIn(format: ClientFormatName, text: string): string | undefined {
  const shape = {
    chat: /^\{"error":\{"message":"[^"]+".*"code":"([a-z_]+)"/,
    responses: /^\{.*"error":\{"message":"[^"]+".*"code":"([a-z_]+)"/,
    messages: /^\{"type":"error","error":\{"type":"[a-z_]+","message":"[^"]+".*"error_code":"([a-z_]+)"/,
    gemini: /^\{"error":\{"code":\d+,"message":"[^"]+","status":"[A-Z_]+".*"reason":"([A-Z_]+)"/,
  }[format];
  return shape.exec(format === 'responses' ? text.replace(/^\{/, '{ ') : text)?.[1]?.toLowerCase();
}

function outcomeOf(format: ClientFormatName, result: ClientAnswer): Outcome {
  if (!result.complete) return 'broken off';
  if (result.status >= 500) return codeIn(format, result.text) === undefined ? 'something else' : 'refused';
  try {
    return readAnswer(format, result).text === 'It works.' ? 'answered' : 'something else';
  } catch {
    const last =
      result.text
        .trimEnd()
        .split(/\r?\n\r?\n/)
        .at(-1) ?? '';
    const data = /^data: (.*)$/m.exec(last)?.[1] ?? '';
    return codeIn(format, data) === undefined ? 'something else' : 'told';
  }
}

/** Sends so much as fast as it is taken. */
function flood(headers: Readonly<Record<string, string>>, first: string, bytes: number): Script {
  const more = Buffer.alloc(65_536, 'x');
  return async ({ request: sent, respond }) => {
    await sent.received;
    respond.head(200, headers);
    await respond.write(first);
    for (let done = 0; done < bytes && !respond.over.aborted; done += more.length) await respond.write(more);
    respond.end();
  };
}

/** An answer without a body. */
function bodiless(status: number, headers: Readonly<Record<string, string>>): Script {
  return async ({ request: sent, respond }) => {
    await sent.received;
    respond.head(status, headers);
    respond.end();
  };
}

/** A good answer under more headers than it should have. */
function withHeaders(dialect: Dialect, more: Readonly<Record<string, string>>): Script {
  return async ({ request: sent, respond }) => {
    const head: typeof respond.head = (status, own) => respond.head(status, { ...own, ...more });
    await dialect.answer(SAID)({ request: sent, respond: { ...respond, head } });
  };
}

/** An error about the gateway's credential, as the first event of a stream with a good status. */
function refusedInStream(dialect: Dialect): Script {
  const message = `bad key ${SECRET}`;
  const events: Readonly<Record<Dialect['kind'], Buffer | string>> = {
    openai: `data: ${JSON.stringify({ error: { type: 'invalid_request_error', code: 'invalid_api_key', message } })}\n\n`,
    'openai-responses': `event: error\ndata: ${JSON.stringify({ type: 'error', sequence_number: 0, code: 'invalid_api_key', message, param: null })}\n\n`,
    anthropic: `event: error\ndata: ${JSON.stringify({ type: 'error', error: { type: 'authentication_error', message } })}\n\n`,
    gemini: `data: ${JSON.stringify({ error: { code: 401, status: 'UNAUTHENTICATED', message } })}\r\n\r\n`,
    bedrock: eventStreamFrame('exception', 'accessDeniedException', { message: 'no access' }),
  };
  return stream([events[dialect.kind]], { headers: streamType(dialect) });
}

interface Case {
  readonly title: string;
  readonly stream: boolean;
  readonly script: (dialect: Dialect) => Script;
  /** What clients of another format than the provider's get. */
  readonly converted: Outcome;
  /** What those get to whom the provider's own bytes go. Absent: whatever it sent. */
  readonly native?: Outcome;
}

const ELSEWHERE = { location: `http://127.0.0.1:9/${SECRET}` };
const PAGE = { ...JSON_TYPE, 'content-type': 'text/html' };
const whole = (title: string, script: Case['script'], converted: Outcome, native?: Outcome): Case => ({
  title,
  stream: false,
  script,
  converted,
  ...(native === undefined ? {} : { native }),
});
const streamed = (title: string, script: Case['script'], converted: Outcome, native?: Outcome): Case => ({
  ...whole(title, script, converted, native),
  stream: true,
});

const CASES: readonly Case[] = [
  whole('invalid JSON', () => answer(200, JSON_TYPE, `{"secret": ${SECRET}`), 'refused'),
  whole('other JSON', () => answer(200, JSON_TYPE, `{"secret": "${SECRET}"}`), 'refused'),
  whole('nothing', () => answer(200, JSON_TYPE, ''), 'refused'),
  whole('status 204', () => bodiless(204, TELLING_HEADERS), 'refused'),
  whole('status 304', () => bodiless(304, TELLING_HEADERS), 'refused', 'refused'),
  whole(
    'a redirect',
    () => answer(302, { ...JSON_TYPE, ...ELSEWHERE }, `{"a":"${SECRET}"}`),
    'refused',
    'refused',
  ),
  streamed('a redirect', () => answer(307, { ...PAGE, ...ELSEWHERE }, `<p>${SECRET}`), 'refused', 'refused'),
  whole('a page', () => answer(200, PAGE, `<p>${SECRET}</p>`), 'refused'),
  streamed('a page', () => answer(200, PAGE, `<p>${SECRET}</p>`), 'refused'),
  streamed(
    'invalid JSON',
    (dialect) => stream([`data: {"secret": ${SECRET}\n\n`], { headers: streamType(dialect) }),
    'told',
  ),
  whole('silence', () => stream(['{"a":'], { headers: JSON_TYPE, ending: 'hang' }), 'refused', 'broken off'),
  streamed(
    'silence',
    (dialect) => stream([], { headers: streamType(dialect), ending: 'hang' }),
    'broken off',
    'broken off',
  ),
  whole(
    'headers of a megabyte',
    (dialect) => withHeaders(dialect, { 'x-big': 'a'.repeat(MIB) }),
    'refused',
    'refused',
  ),
  streamed('a thousand headers', (dialect) => withHeaders(dialect, MANY_HEADERS), 'refused', 'refused'),
  whole('less than content-length says', () => short(), 'refused', 'broken off'),
  whole(
    'a cut in the middle',
    () => stream(['{"a":'], { headers: JSON_TYPE, ending: 'cut' }),
    'refused',
    'broken off',
  ),
  whole('gzip that nobody asked for', (dialect) => dialect.gzipped(SAID), 'answered', 'answered'),
  whole('a gzip bomb', () => answer(200, { ...JSON_TYPE, 'content-encoding': 'gzip' }, BOMB), 'refused'),
  whole(
    'no gzip',
    () => answer(200, { ...JSON_TYPE, 'content-encoding': 'gzip' }, `{"a": "${SECRET}"}`),
    'refused',
  ),
  whole(
    'a refusal of the credential',
    () => answer(401, JSON_TYPE, `{"error":{"message":"${SECRET}"},"message":"${SECRET}"}`),
    'refused',
    'refused',
  ),
  streamed('a refusal of the credential', refusedInStream, 'told'),
];
/** What is large goes to a few at a time: the two cores of a small machine are what it would measure. */
const FLOODS: readonly Case[] = [
  streamed('a long line', (dialect) => flood(streamType(dialect), 'data: {"a":"', 24 * MIB), 'told'),
  whole('JSON without an end', () => flood(JSON_TYPE, '{"a":"', 64 * MIB), 'refused'),
];

function short(): Script {
  return async ({ request: sent, respond }) => {
    await sent.received;
    respond.head(200, { ...JSON_TYPE, 'content-length': '1000' });
    await respond.write('{"a":');
    respond.cut();
  };
}

describe('hostile upstreams', () => {
  let plane: DataPlane;
  let upstreams: ReadonlyMap<Dialect['kind'], ScriptedUpstream>;

  beforeAll(async () => {
    upstreams = new Map(
      await Promise.all(DIALECTS.map(async ({ kind }) => [kind, await startUpstream()] as const)),
    );
    plane = await startDataPlane({
      workerProcesses: true,
      gateway: {
        retries: { attempts: 1 },
        circuitBreaker: { failures: 0 },
        timeouts: { streamIdleSeconds: STREAM_IDLE_SECONDS, requestSeconds: REQUEST_SECONDS },
      },
      providers: Object.fromEntries(
        DIALECTS.map((dialect) => [
          dialect.kind,
          { ...providerInput(dialect, upstreams.get(dialect.kind)?.url ?? ''), credential: SECRET },
        ]),
      ),
      models: Object.fromEntries(
        DIALECTS.map(({ kind }) => [kind, { targets: [{ provider: kind, model: 'real' }] }]),
      ),
    });
  });
  afterAll(async () => {
    await plane.stop();
    await Promise.all([...upstreams.values()].map(async (upstream) => await upstream.close()));
  });
  beforeEach(() => {
    for (const upstream of upstreams.values()) upstream.reset();
    plane.forget();
  });
  afterEach(async () => {
    await plane.idle();
    expect(plane.faults).toEqual([]);
    expect(plane.envoy.log).not.toMatch(/Segmentation fault|Caught/);
  });

  /** What was not as it should be, a line for each way. */
  async function drill(
    { script, stream: streams, converted, native }: Case,
    ways: readonly Way[],
  ): Promise<readonly string[]> {
    for (const dialect of DIALECTS) upstreams.get(dialect.kind)?.always(script(dialect));
    const results = await Promise.all(
      ways.map(async ({ format, dialect }) => {
        const result = await plane.call(request(format, { model: dialect.kind, stream: streams }));
        const isNative = NATIVE.some((way) => way.format === format && way.dialect === dialect);
        const outcome = outcomeOf(format, result);
        const expected = isNative ? (native ?? outcome) : converted;
        // To a client of the provider's own format its bytes go as they are; its headers and what is made anew do not.
        const shown = isNative && expected !== 'refused' ? '' : result.text;
        const told = JSON.stringify(result.rawHeaders) + shown;
        expect((await plane.rowOf(result)).attempts).toBe(1);
        if (outcome === expected && !told.includes(SECRET) && !/\.[jt]s:\d+/.test(told)) return [];
        return [
          `${format} from ${dialect.kind}: ${outcome}, not ${expected}: ${result.status} ${told.slice(0, 600)}`,
        ];
      }),
    );
    return results.flat();
  }

  function served(): Promise<readonly string[]> {
    for (const upstream of upstreams.values()) upstream.reset();
    return drill(
      whole('', (dialect) => dialect.answer(SAID), 'answered', 'answered'),
      [...NATIVE, ...CONVERTED],
    );
  }

  test.each(CASES)('$title (stream: $stream)', async (hostile) => {
    expect(await drill(hostile, [...NATIVE, ...CONVERTED])).toEqual([]);
    expect(await served()).toEqual([]);
  });

  test('a stream that goes on without end after an error is left', async () => {
    const endless: Script = async ({ request: sent, respond }) => {
      await sent.received;
      respond.head(200, streamType(openai));
      await respond.write('data: {not JSON\n\n');
      while (!respond.over.aborted) {
        await respond.write('data: {"more":1}\n\n');
        await pause(5, respond.over);
      }
    };
    const upstream = upstreams.get('openai');
    upstream?.always(endless);
    const result = await plane.call(request('messages', { model: 'openai', stream: true }));
    expect(outcomeOf('messages', result)).toBe('told');
    expect((await upstream?.only().closed)?.by).toBe('peer');
  });

  test.each(FLOODS)('$title (stream: $stream)', async (hostile) => {
    const [before] = await plane.loads();
    for (const way of CONVERTED)
      if (way.format === 'chat' || way.dialect === openai) expect(await drill(hostile, [way])).toEqual([]);
    await eventually(async () => {
      const [after] = await plane.loads();
      expect((after?.heldBytes ?? 0) - (before?.heldBytes ?? 0)).toBeLessThan(16 * MIB);
      return true;
    });
    expect(await served()).toEqual([]);
  });
});
