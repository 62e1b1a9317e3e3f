import { expect, test, vi } from 'vitest';
import { TRY_ID_HEADER } from '../core/gateway-names.ts';
import type { RequestContext } from '../core/ledger.ts';
import { ACCESS_LOG_TYPE } from '../envoy-protocol/access-log-messages.ts';
import { loadProcessorProtocol } from '../envoy-protocol/codecs.ts';
import { jsonToStruct } from '../envoy-protocol/values.ts';
import { OutputEstimator } from '../ledger/estimator.ts';
import { namesIn } from '../ledger/witness-names.ts';
import { readWitnessed } from './witnessed.ts';

const protocol = loadProcessorProtocol();

const HOLD = {
  rule: 'month',
  subject: 'ada',
  counter: 'c',
  unit: 'usd',
  limit: 1,
  reserved: 9,
  alerts: [],
} as const;

function contextOf(requestId: string, intentId: string, over: Partial<RequestContext> = {}): RequestContext {
  const target = {
    provider: 'a',
    type: 'openai',
    model: 'gpt-real',
    basePath: '/v1',
    defaultMaxOutputTokens: 100,
    options: {},
    price: { input: 2, output: 10 },
  };
  return {
    requestId,
    time: 1,
    keyId: 'k',
    user: 'ada',
    team: '',
    tenant: '',
    format: 'chat',
    modelAsked: 'fast',
    model: 'fast',
    stream: false,
    inputEstimate: 50,
    snapshot: 's',
    intentId,
    exposeUsage: false,
    framing: 'sse',
    refuseLosses: false,
    failoverOn: 'responseHeaders',
    mode: 'native',
    targets: [
      { ...target, cluster: 'provider/a' },
      { ...target, provider: 'b', cluster: 'provider/b' },
    ],
    limenMicros: 1,
    trace: [],
    holds: [HOLD],
    ...over,
  };
}

function message(...logEntry: readonly object[]): Buffer {
  const whole: object = { httpLogs: { logEntry } };
  const codec = protocol.streamAccessLogsMessage;
  return codec.encode(codec.decode(codec.encode(Object.assign(codec.decode(Buffer.alloc(0)), whole))));
}

function ofRequest(
  context: RequestContext,
  attempts: number,
  type: keyof typeof ACCESS_LOG_TYPE = 'downstreamEnd',
) {
  const fields = jsonToStruct({ id: context.requestId, context: JSON.stringify(context) });
  return {
    commonProperties: {
      accessLogType: ACCESS_LOG_TYPE[type],
      upstreamCluster: 'provider/b',
      upstreamRequestAttemptCount: attempts,
      metadata: { filterMetadata: { limen: fields } },
      duration: { seconds: 1, nanos: 0 },
    },
    request: { path: '/v1/chat/completions' },
    response: { responseCode: { value: 200 } },
  };
}

/** Given up by a timeout, after the provider had the whole request. */
function ofTry(requestId: string, second = 0) {
  return {
    commonProperties: {
      accessLogType: ACCESS_LOG_TYPE.upstreamEnd,
      upstreamCluster: 'provider/a',
      startTime: { seconds: second, nanos: 0 },
      responseFlags: { upstreamRequestTimeout: true },
      timeToLastUpstreamTxByte: { seconds: 0, nanos: 1 },
    },
    request: { requestHeaders: { [TRY_ID_HEADER]: requestId } },
  };
}

async function read(messages: readonly Buffer[], ...intentIds: readonly string[]) {
  const onUnreadable = vi.fn<(error: unknown) => void>();
  const options = { protocol, estimator: new OutputEstimator(), onUnreadable };
  return { ...(await readWitnessed(messages, new Set(intentIds), options)), onUnreadable };
}

test('whom an undecoded message is about is seen from its bytes', () => {
  const id = '11111111-2222-4333-8444-555555555555';
  const bytes = message(
    ofRequest(contextOf('r1', '1795242490771-0'), 1),
    ofRequest(contextOf('r2', '1795242490771-12', {}), 1, 'downstreamPeriodic'),
    ofTry(id),
  );
  expect(namesIn(bytes)).toEqual(['1795242490771-0', '1795242490771-12', id]);
  expect(namesIn(Buffer.alloc(0))).toEqual([]);
  expect(namesIn(bytes.subarray(0, bytes.indexOf('1795242490771') + 4))).toEqual([]);
});

test('a model that is called like an intent makes none', () => {
  const context = contextOf('r1', '1-0', { modelAsked: '"intentId":"2-0"' });
  expect(namesIn(message(ofRequest(context, 1)))).toEqual(['1-0']);
});

test('the ends of the wanted requests are read, and of no others', async () => {
  const { settlements, attempts } = await read(
    [
      message(ofRequest(contextOf('r1', '1-0'), 1), ofRequest(contextOf('r2', '2-0'), 1)),
      message(ofRequest(contextOf('r3', '3-0'), 1, 'downstreamPeriodic')),
    ],
    '1-0',
    '3-0',
  );
  expect(settlements).toMatchObject([
    { intentId: '1-0', row: { requestId: 'r1', revision: 2, provider: 'b', status: 200 }, holds: [HOLD] },
  ]);
  expect(attempts).toEqual([]);
});

test('failed tries are joined to their request, whenever they were told', async () => {
  const context = contextOf('r1', '1-0');
  const { settlements, attempts } = await read(
    [
      message(ofTry('r1'), ofTry('other')),
      message(ofRequest(context, 2, 'downstreamPeriodic')),
      message(ofTry('r1')),
      message(ofRequest(context, 3), ofRequest(contextOf('other', '9-0'), 2)),
    ],
    '1-0',
  );
  expect(settlements.map(({ intentId }) => intentId)).toEqual(['1-0']);
  expect(attempts).toMatchObject([
    { requestId: 'r1', ordinal: 1, intentId: '1-0', outcome: 'timeout', charges: [{ rule: 'month' }] },
    { requestId: 'r1', ordinal: 2, intentId: '1-0', outcome: 'timeout', charges: [{ rule: 'month' }] },
  ]);
});

test('failed tries of a request that goes on are known by then', async () => {
  const { settlements, attempts } = await read(
    [message(ofTry('r1')), message(ofRequest(contextOf('r1', '1-0'), 2, 'downstreamPeriodic'))],
    '1-0',
  );
  expect(settlements).toEqual([]);
  expect(attempts).toMatchObject([{ requestId: 'r1', ordinal: 1, charges: [{ rule: 'month' }] }]);
});

test('what cannot be read takes nothing else with it', async () => {
  const { settlements, onUnreadable } = await read(
    [Buffer.from([0xff, 0xff]), message(ofRequest(contextOf('r1', '1-0'), 1))],
    '1-0',
  );
  expect(settlements).toHaveLength(1);
  expect(onUnreadable).toHaveBeenCalledOnce();
});

test('others have their turns while much is read, which keeps its order', async () => {
  const messages = Array.from({ length: 20 }, (_, index) => message(ofTry('r1', index)));
  const end = message(ofRequest(contextOf('r1', '1-0'), 21));
  const codec = protocol.streamAccessLogsMessage;
  const slow = {
    ...codec,
    decode: (bytes: Buffer) => {
      for (const until = performance.now() + 3; performance.now() < until;);
      return codec.decode(bytes);
    },
  };
  let turns = 0;
  let turn = setImmediate(function count() {
    turns += 1;
    turn = setImmediate(count);
  });
  const { settlements, attempts } = await readWitnessed([...messages, end], new Set(['1-0']), {
    protocol: { ...protocol, streamAccessLogsMessage: slow },
    estimator: new OutputEstimator(),
    onUnreadable: () => undefined,
  });
  clearImmediate(turn);
  // 63 ms in slices of 5, the last of which is done before it is looked at the clock.
  expect(turns).toBeGreaterThanOrEqual(9);
  expect(settlements).toHaveLength(1);
  expect(attempts.map(({ time }) => time)).toEqual(messages.map((_, index) => index * 1000));
});
