import { describe, expect, test } from 'vitest';
import { OUTCOME_HEADER, TRY_ID_HEADER } from '../core/gateway-names.ts';
import type { RequestContext } from '../core/ledger.ts';
import { ACCESS_LOG_TYPE, type HttpAccessLogEntry } from '../envoy-protocol/access-log-messages.ts';
import { loadProcessorProtocol } from '../envoy-protocol/codecs.ts';
import { jsonToStruct } from '../envoy-protocol/values.ts';
import { TryLog } from './try-log.ts';

const protocol = loadProcessorProtocol();

const TARGET = {
  provider: 'a',
  type: 'openai',
  model: 'gpt-real',
  basePath: '/v1',
  defaultMaxOutputTokens: 100,
  options: {},
  price: { input: 2, output: 10 },
};
const CONTEXT: RequestContext = {
  requestId: 'r1',
  time: 1,
  keyId: 'k',
  user: 'u',
  team: '',
  tenant: '',
  format: 'chat',
  modelAsked: 'fast',
  model: 'fast',
  stream: true,
  inputEstimate: 50,
  snapshot: 's',
  intentId: 'i',
  exposeUsage: false,
  framing: 'sse',
  refuseLosses: false,
  failoverOn: 'responseHeaders',
  mode: 'native',
  targets: [
    { ...TARGET, cluster: 'provider/a' },
    { ...TARGET, provider: 'b', cluster: 'provider/b', price: undefined },
  ],
  limenMicros: 1,
  trace: [],
  holds: [
    { rule: 'month', subject: 'u', counter: 'c', unit: 'usd', limit: 1, reserved: 9, alerts: [] },
    {
      rule: 'of-b',
      subject: 'b',
      counter: 'd',
      unit: 'tokens',
      limit: 1,
      reserved: 9,
      providers: ['b'],
      alerts: [],
    },
  ],
  multiplier: { input: 1, output: 2 },
};

/** An entry as it comes over the wire: what is left out has its default. */
function entry(fields: {
  readonly common: object;
  readonly status?: number;
  readonly id?: string;
  readonly responseHeaders?: Readonly<Record<string, string>>;
}): HttpAccessLogEntry {
  const { common, status, id, responseHeaders = {} } = fields;
  const message: object = {
    httpLogs: {
      logEntry: [
        {
          commonProperties: common,
          request: { requestHeaders: id === undefined ? {} : { [TRY_ID_HEADER]: id } },
          response: { ...(status === undefined ? {} : { responseCode: { value: status } }), responseHeaders },
        },
      ],
    },
  };
  const codec = protocol.streamAccessLogsMessage;
  const bytes = codec.encode({ identifier: null, httpLogs: null, ...message });
  const [decoded] = codec.decode(bytes).httpLogs?.logEntry ?? [];
  if (decoded === undefined) throw new Error('there is no entry');
  return decoded;
}

const SENT = { seconds: 0, nanos: 5_000_000 };

function failed(
  cluster: string,
  status: number | undefined,
  more: object = {},
  responseHeaders: Readonly<Record<string, string>> = {},
  id = 'r1',
): HttpAccessLogEntry {
  return entry({
    common: {
      accessLogType: ACCESS_LOG_TYPE.upstreamEnd,
      upstreamCluster: cluster,
      startTime: { seconds: 1000, nanos: 0 },
      duration: { seconds: 0, nanos: 250_000_000 },
      timeToLastUpstreamTxByte: SENT,
      ...more,
    },
    id,
    responseHeaders,
    ...(status === undefined ? {} : { status }),
  });
}

function request(
  kind: 'end' | 'periodic',
  attempts: number,
  context: RequestContext = CONTEXT,
): HttpAccessLogEntry {
  const { downstreamEnd, downstreamPeriodic } = ACCESS_LOG_TYPE;
  return entry({
    common: {
      accessLogType: kind === 'end' ? downstreamEnd : downstreamPeriodic,
      upstreamRequestAttemptCount: attempts,
      metadata: {
        filterMetadata: { limen: jsonToStruct({ id: 'r1', context: JSON.stringify(context) }) },
        typedFilterMetadata: {},
      },
    },
    status: 200,
  });
}

describe('the log of failed tries', () => {
  test('a try is told with what its request knows, once that is known', () => {
    const log = new TryLog(() => 0);
    expect(log.read(failed('provider/a', 429, {}, { 'retry-after': '7' }))).toEqual([]);
    expect(log.read(request('end', 2))).toEqual([
      {
        requestId: 'r1',
        ordinal: 1,
        time: 1_000_000,
        provider: 'a',
        providerModel: 'gpt-real',
        status: 429,
        outcome: 'status',
        mayBeBilled: false,
        costUsd: 0,
        durationMs: 250,
        retryAfterSeconds: 7,
        intentId: 'i',
        holds: CONTEXT.holds,
        amounts: { requests: 0, tokens: 0, usd: 0 },
      },
    ]);
    expect(log.read(request('end', 2))).toEqual([]);
  });

  test('the last try is in the row itself, also where it failed', () => {
    const log = new TryLog(() => 0);
    for (const status of [500, 502, 503]) log.read(failed('provider/a', status));
    expect(log.read(request('end', 3)).map(({ ordinal, status }) => [ordinal, status])).toEqual([
      [1, 500],
      [2, 502],
    ]);
  });

  test('an answer that broke off on its way to the client is no failed try', () => {
    const log = new TryLog(() => 0);
    log.read(failed('provider/a', 500));
    log.read(failed('provider/b', 200));
    expect(log.read(request('end', 2))).toHaveLength(1);
  });

  test('while the request is open, each is told once', () => {
    const log = new TryLog(() => 0);
    log.read(failed('provider/a', 500));
    expect(log.read(request('periodic', 2))).toMatchObject([{ ordinal: 1 }]);
    expect(log.read(request('periodic', 2))).toEqual([]);
    log.read(failed('provider/b', 503));
    expect(log.read(request('end', 3))).toMatchObject([{ ordinal: 2, provider: 'b', status: 503 }]);
  });

  test('is charged no more output than its request could get', () => {
    const log = new TryLog(() => 0);
    log.read(failed('provider/a', 504));
    const [one] = log.read(request('end', 2, { ...CONTEXT, mostOutputTokens: 7 }));
    expect(one?.charges).toEqual([{ rule: 'month', subject: 'u', unit: 'usd', amount: 170_000 }]);
  });

  test('what it may cost at most', () => {
    const log = new TryLog(() => 0);
    log.read(failed('provider/a', 504));
    log.read(failed('provider/b', 504));
    log.read(failed('provider/a', 504, { timeToLastUpstreamTxByte: null }));
    const [first, unknown, unsent] = log.read(request('end', 4));
    expect(first).toMatchObject({ mayBeBilled: true });
    expect(first?.costUsd).toBeCloseTo((50 * 2 + 100 * 10) / 1e6, 12);
    expect(first?.charges).toEqual([{ rule: 'month', subject: 'u', unit: 'usd', amount: 1_100_000 }]);
    expect(unknown).toMatchObject({ mayBeBilled: true, costUsd: 0 });
    expect(unknown?.charges).toEqual([{ rule: 'of-b', subject: 'b', unit: 'tokens', amount: 250 }]);
    expect(unsent).toMatchObject({ mayBeBilled: false, costUsd: 0 });
    expect(unsent?.charges).toBeUndefined();
  });

  test.each([
    ['connect_failure', { responseFlags: { upstreamConnectionFailure: true } }],
    ['timeout', { responseFlags: { upstreamRequestTimeout: true } }],
    [
      'first_event_timeout',
      { responseFlags: { upstreamRequestTimeout: true }, timeToFirstUpstreamRxByte: SENT },
    ],
    ['reset', { responseFlags: { upstreamConnectionTermination: true } }],
  ])('%s', (outcome, common) => {
    const log = new TryLog(() => 0);
    log.read(failed('provider/a', undefined, common));
    expect(log.read(request('end', 2))).toMatchObject([{ outcome, status: 0 }]);
  });

  test('a watched stream that failed before it began', () => {
    const log = new TryLog(() => 0);
    log.read(failed('provider/a', 502, {}, { [OUTCOME_HEADER]: 'first_event_error' }));
    expect(log.read(request('end', 2))).toMatchObject([
      { outcome: 'first_event_error', status: 200, mayBeBilled: true },
    ]);
  });

  test('a request of which nothing more is heard is told without it, and then forgotten', () => {
    let now = 0;
    const log = new TryLog(() => now);
    log.read(failed('provider/a', 500));
    now = 60_000;
    log.read(request('periodic', 1));
    now = 150_000;
    expect(log.read(failed('provider/b', 500, {}, {}, 'r2'))).toEqual([]);
    now = 181_000;
    expect(log.read(failed('provider/b', 500, {}, {}, 'r3'))).toMatchObject([
      { requestId: 'r1', ordinal: 1, provider: 'a', providerModel: '', costUsd: 0 },
    ]);
    expect(log.read(request('end', 2))).toEqual([]);
  });
});
