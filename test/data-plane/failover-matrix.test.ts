import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import type { FailedAttempt } from '../../src/core/ledger.ts';
import type { ClientFormatName } from '../../src/formats/hub.ts';
import { CLIENT_KEY, startDataPlane, type DataPlane, type ProviderInput } from '../support/data-plane.ts';
import { readAnswer } from '../support/data-plane/read-answer.ts';
import { MESSAGES_MAX_TOKENS, request } from '../support/data-plane/requests.ts';
import {
  anthropic,
  type Answer,
  bedrock,
  type Dialect,
  gemini,
  openai,
  openaiResponses,
  refusedUrl,
  type RecordedRequest,
  resetBeforeHeaders,
  type Script,
  type ScriptedUpstream,
  startUpstream,
} from '../support/upstream/index.ts';

const FORMATS: readonly ClientFormatName[] = ['chat', 'responses', 'messages', 'gemini'];
const DIALECTS: readonly Dialect[] = [openai, openaiResponses, anthropic, gemini, bedrock];
type Kind = Dialect['kind'];
const ROLES = ['first', 'second', 'gone'] as const;
type Role = (typeof ROLES)[number];

/** Headers that clients of each API send on their own, and that mean nothing, or something else, elsewhere. */
const CLIENT_HEADERS: Readonly<Record<ClientFormatName, Readonly<Record<string, string>>>> = {
  chat: { 'openai-organization': 'org-of-the-client', 'openai-project': 'proj-of-the-client' },
  responses: { 'openai-organization': 'org-of-the-client', 'openai-project': 'proj-of-the-client' },
  messages: { 'anthropic-version': '2023-06-01', 'anthropic-dangerous-direct-browser-access': 'true' },
  gemini: { 'x-goog-api-client': 'google-genai-sdk/1.0', 'x-server-timeout': '60' },
};
/** What a provider may be sent beside the headers of any HTTP request. */
const OWN_HEADERS: Readonly<Record<Kind, readonly string[]>> = {
  openai: ['authorization'],
  'openai-responses': ['authorization'],
  anthropic: ['x-api-key', 'anthropic-version', 'anthropic-dangerous-direct-browser-access'],
  gemini: ['x-goog-api-key', 'x-goog-api-client', 'x-server-timeout'],
  bedrock: ['authorization'],
};
const ORDINARY_HEADERS = [
  'host',
  'content-type',
  'content-length',
  'accept',
  'accept-encoding',
  'x-client-request-id',
];

const SAID: Answer = { text: ['It ', 'works.'], usage: { input: 11, output: 7 } };
/** USD per million tokens at the provider that fails, and at the one that answers. */
const PRICE = { first: { input: 100, output: 200 }, second: { input: 1, output: 2 } } as const;
const MAX_OUTPUT_TOKENS = 1000;
const RETRY_AFTER_SECONDS = 9;
/** Of each try, of the good one too: so it must be longer than the machine may stall. */
const PER_TRY_SECONDS = 3;
/** Those that tell it in a header, as the router and its log need it. */
const TELLS_RETRY_AFTER: readonly Kind[] = ['openai', 'openai-responses', 'anthropic'];

const credentialOf = (role: Role, kind: Kind): string => `key-of-${role}-${kind}-end`;
const providerName = (role: Role, kind: Kind): string => `${role}-${kind}`;
/** Both providers of a kind know the model by one name, so that a mix of two alike is native. */
const providerModel = (kind: Kind): string => `${kind}-model`;

function providerInput(role: Role, { kind }: Dialect, url: string): ProviderInput {
  const credential = credentialOf(role, kind);
  const common = { credential, defaultMaxOutputTokens: MAX_OUTPUT_TOKENS };
  switch (kind) {
    case 'openai':
      return { type: 'openai', apis: ['chat'], baseUrl: `${url}/v1`, ...common };
    case 'openai-responses':
      return { type: 'openai', apis: ['responses'], baseUrl: `${url}/v1`, ...common };
    case 'anthropic':
      return { type: 'anthropic', baseUrl: `${url}/v1`, ...common };
    case 'gemini':
      return { type: 'gemini', baseUrl: `${url}/v1beta`, ...common };
    case 'bedrock':
      return { type: 'bedrock', region: 'us-east-1', baseUrl: url, ...common };
  }
}

/** Who is asked, and who answers when that fails. */
interface Mix {
  readonly first: Dialect;
  readonly second: Dialect;
}
const MIXES: readonly Mix[] = DIALECTS.flatMap((first) => DIALECTS.map((second) => ({ first, second })));
type Until = 'responseHeaders' | 'firstEvent';
const modelName = ({ first, second }: Mix, until: Until, role: Role = 'first'): string =>
  `${role}-${first.kind}-then-${second.kind}-until-${until}`;

interface Failure {
  readonly title: string;
  /** Absent: nobody listens where the first provider should be. */
  readonly script?: (dialect: Dialect) => Script;
  readonly told: (dialect: Dialect) => Partial<FailedAttempt>;
}

const NOT_BILLED = { mayBeBilled: false, costUsd: 0 };
const BEFORE_HEADERS: readonly Failure[] = [
  {
    title: '429',
    script: (dialect) => dialect.error(429, { retryAfterSeconds: RETRY_AFTER_SECONDS }),
    told: ({ kind }) => ({
      status: 429,
      outcome: 'status',
      retryAfterSeconds: TELLS_RETRY_AFTER.includes(kind) ? RETRY_AFTER_SECONDS : 0,
      ...NOT_BILLED,
    }),
  },
  {
    title: '500',
    script: (dialect) => dialect.error(500),
    told: () => ({ status: 500, outcome: 'status', retryAfterSeconds: 0, ...NOT_BILLED }),
  },
  {
    title: 'a refused connection',
    told: () => ({ status: 0, outcome: 'connect_failure', ...NOT_BILLED }),
  },
  {
    title: 'a reset before the headers',
    script: () => resetBeforeHeaders(),
    told: () => ({ status: 0, outcome: 'reset', mayBeBilled: true }),
  },
];

/** A stream that begins, as far as its API has a beginning before its content, and then says nothing. */
function stalled(dialect: Dialect): Script {
  return (exchange) => {
    const { respond } = exchange;
    const begun = dialect.broken(SAID, { deltas: 0, how: 'early-end' });
    return begun({ ...exchange, respond: { ...respond, end: () => undefined } });
  };
}

const BEFORE_CONTENT: readonly Failure[] = [
  {
    title: 'an error as first event',
    script: (dialect) => dialect.errorEvent(SAID, { deltas: 0 }),
    told: () => ({ status: 200, outcome: 'first_event_error', mayBeBilled: true }),
  },
  {
    title: 'a stall before the first event',
    script: stalled,
    told: () => ({ status: 0, outcome: 'first_event_timeout', mayBeBilled: true }),
  },
  {
    title: 'an end before the first event',
    script: (dialect) => dialect.broken(SAID, { deltas: 0, how: 'early-end' }),
    told: () => ({ status: 200, outcome: 'first_event_error', mayBeBilled: true }),
  },
];

/** What an assertion's error says beside its message, which shortens both. */
const failureSchema = z.object({
  message: z.string(),
  actual: z.unknown().optional(),
  expected: z.unknown().optional(),
});

describe('one good answer, whoever fails and whoever takes over', () => {
  let plane: DataPlane;
  /** One server for each role and API. */
  let upstreams: Readonly<Record<'first' | 'second', ReadonlyMap<Kind, ScriptedUpstream>>>;

  beforeAll(async () => {
    const started = async () =>
      new Map(await Promise.all(DIALECTS.map(async ({ kind }) => [kind, await startUpstream()] as const)));
    const [first, second, nobody] = await Promise.all([started(), started(), refusedUrl()]);
    upstreams = { first, second };
    const urlOf = (role: Role, kind: Kind): string =>
      role === 'gone' ? nobody : (upstreams[role].get(kind)?.url ?? '');
    const model = (mix: Mix, until: Until, role: Role = 'first') => ({
      failoverOn: until,
      ...(until === 'firstEvent' ? { perTryTimeoutSeconds: PER_TRY_SECONDS } : {}),
      targets: [
        {
          provider: providerName(role, mix.first.kind),
          model: providerModel(mix.first.kind),
          price: PRICE.first,
        },
        {
          provider: providerName('second', mix.second.kind),
          model: providerModel(mix.second.kind),
          price: PRICE.second,
          priority: 1,
        },
      ],
    });
    plane = await startDataPlane({
      gateway: { circuitBreaker: { failures: 0 } },
      providers: Object.fromEntries(
        ROLES.flatMap((role) =>
          DIALECTS.map((dialect) => [
            providerName(role, dialect.kind),
            providerInput(role, dialect, urlOf(role, dialect.kind)),
          ]),
        ),
      ),
      models: Object.fromEntries(
        MIXES.flatMap((mix) => [
          [modelName(mix, 'responseHeaders'), model(mix, 'responseHeaders')],
          [modelName(mix, 'responseHeaders', 'gone'), model(mix, 'responseHeaders', 'gone')],
          [modelName(mix, 'firstEvent'), model(mix, 'firstEvent')],
        ]),
      ),
    });
  });
  const everyUpstream = () => [...upstreams.first.values(), ...upstreams.second.values()];
  afterAll(async () => {
    await plane.stop();
    await Promise.all(everyUpstream().map(async (upstream) => await upstream.close()));
  });
  beforeEach(() => {
    for (const upstream of everyUpstream()) upstream.reset();
    plane.forget();
  });
  afterEach(async () => {
    await plane.idle();
    expect(plane.faults).toEqual([]);
  });

  /** The one request that a provider got for a client's. */
  function sentTo(
    role: 'first' | 'second',
    { kind }: Dialect,
    requestId: string,
  ): readonly RecordedRequest[] {
    const { requests = [] } = upstreams[role].get(kind) ?? {};
    return requests.filter((sent) => sent.header('x-client-request-id') === requestId);
  }

  /** What a provider was sent is its own: path, credential, headers, a body that it can read. */
  function expectOwn(
    role: 'first' | 'second',
    dialect: Dialect,
    { requestId, stream }: { readonly requestId: string; readonly stream: boolean },
  ): void {
    const { kind } = dialect;
    const [sent, ...more] = sentTo(role, dialect, requestId);
    if (sent === undefined) throw new Error(`${role} ${kind} was not asked`);
    expect(more).toEqual([]);
    expect([sent.complete, sent.path]).toEqual([true, dialect.pathFor(providerModel(kind), stream)]);
    const [name, value] = dialect.credential(credentialOf(role, kind));
    expect(sent.headers(name)).toEqual([value]);
    expect(sent.headers('content-length')).toEqual([String(sent.body.length)]);
    const strange = sent.rawHeaders
      .map(([header]) => header.toLowerCase())
      .filter((header) => ![...ORDINARY_HEADERS, ...OWN_HEADERS[kind]].includes(header));
    expect(strange).toEqual([]);
    expect(dialect.read(sent)).toMatchObject({ model: providerModel(kind), stream });
    expect(sent.body.toString()).toContain('Does it work?');
  }

  /** A client's request of which the first try fails, and everything that is told of it. */
  async function drill(format: ClientFormatName, stream: boolean, mix: Mix, failure: Failure, until: Until) {
    const gone = failure.script === undefined;
    const model = modelName(mix, until, gone ? 'gone' : 'first');
    const answer = await plane.call({
      ...request(format, { model, stream, content: 'Does it work?' }),
      headers: CLIENT_HEADERS[format],
    });
    const read = readAnswer(format, answer);
    expect(read.text).toBe('It works.');
    // A client of Chat Completions that asked for no usage chunk gets none.
    const tokens = format === 'chat' && stream ? [undefined, undefined] : [11, 7];
    expect([read.inputTokens, read.outputTokens]).toEqual(tokens);
    expect(JSON.stringify(answer.rawHeaders)).not.toMatch(/x-limen-internal|x-envoy|set-cookie/i);

    const row = await plane.rowOf(answer);
    const { requestId } = row;
    expect(row).toMatchObject({
      model,
      provider: providerName('second', mix.second.kind),
      providerModel: providerModel(mix.second.kind),
      attempts: 2,
      status: 200,
      errorCode: '',
      stream,
      usage: { input: 11, output: 7 },
      usageSource: 'provider',
    });
    expect(row.costUsd).toBeCloseTo((11 * PRICE.second.input + 7 * PRICE.second.output) / 1e6, 12);

    const intent = plane.intents.find((one) => one.requestId === requestId);
    const told = failure.told(mix.first);
    const [attempt, ...more] = plane.attemptsOf(row);
    expect(more).toEqual([]);
    expect(attempt).toMatchObject({
      ...told,
      ordinal: 1,
      provider: providerName(gone ? 'gone' : 'first', mix.first.kind),
      providerModel: providerModel(mix.first.kind),
    });
    // A try cannot have got more than the request allowed.
    const mostOutput = format === 'messages' ? MESSAGES_MAX_TOKENS : MAX_OUTPUT_TOKENS;
    const atMost = ((intent?.inputEstimate ?? 0) * PRICE.first.input + mostOutput * PRICE.first.output) / 1e6;
    expect(intent?.inputEstimate).toBeGreaterThan(0);
    expect(attempt?.costUsd).toBeCloseTo(told.mayBeBilled === true ? atMost : 0, 12);

    if (!gone) expectOwn('first', mix.first, { requestId, stream });
    expectOwn('second', mix.second, { requestId, stream });
  }

  /** What went wrong, a line for each mix: one text, because a list would be shown as `[ Array(1) ]`. */
  async function everyMix(
    format: ClientFormatName,
    stream: boolean,
    failure: Failure,
    until: Until,
  ): Promise<string> {
    for (const dialect of DIALECTS) {
      if (failure.script !== undefined) upstreams.first.get(dialect.kind)?.always(failure.script(dialect));
      upstreams.second.get(dialect.kind)?.always(dialect.answer(SAID));
    }
    const told = await Promise.all(
      MIXES.map(async (mix) => {
        try {
          await drill(format, stream, mix, failure, until);
          return [];
        } catch (error) {
          const { message, actual, expected } = failureSchema.parse(error);
          return [
            `${mix.first.kind}, then ${mix.second.kind}: ${message}`,
            `  expected ${JSON.stringify(expected)}`,
            `  received ${JSON.stringify(actual)}`,
          ];
        }
      }),
    );
    for (const role of ['first', 'second'] as const) {
      for (const dialect of DIALECTS) {
        const upstream = upstreams[role].get(dialect.kind);
        const others = ROLES.flatMap((one) => DIALECTS.map(({ kind }) => credentialOf(one, kind))).filter(
          (credential) => credential !== credentialOf(role, dialect.kind),
        );
        upstream?.expectNotSent(CLIENT_KEY, 'org-of-the-client', 'proj-of-the-client', ...others);
      }
    }
    return told.flat().join('\n');
  }

  describe.each(FORMATS)('a client of %s', (format) => {
    describe.each([false, true])('stream: %s', (stream) => {
      test.each(BEFORE_HEADERS)('$title', async (failure) => {
        expect(await everyMix(format, stream, failure, 'responseHeaders')).toBe('');
      });
    });

    test.each(BEFORE_CONTENT)('$title', async (failure) => {
      expect(await everyMix(format, true, failure, 'firstEvent')).toBe('');
    });
  });
});
