import { createServer, type Server } from 'node:http';
import { Command } from 'commander';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ADMIN_TOKEN_CALLER } from '../admin/caller.ts';
import { AdminError } from '../admin/errors.ts';
import { findRoute, Reply } from '../admin/router.ts';
import { requestRoutes } from '../admin/routes/requests.ts';
import { readSettings } from '../config/env.ts';
import type { GatewayLogRow, LoggedRequest } from '../core/ledger.ts';
import { makeUsage } from '../core/usage.ts';
import { registerExplainCommand } from './explain.ts';

const ROW: GatewayLogRow = {
  requestId: '1f0c2b6e-8a52-4d1b-9c7e-3a5d2e9b4f60',
  revision: 2,
  time: Date.UTC(2027, 0, 31, 8, 0, 5, 123),
  keyId: 'key-1',
  user: 'ada',
  team: 'engine',
  tenant: 'acme',
  format: 'messages',
  modelAsked: 'quick',
  model: 'fast',
  provider: 'claude',
  providerModel: 'claude-haiku',
  stream: true,
  attempts: 2,
  status: 200,
  errorCode: '',
  usage: makeUsage({ input: 1110, output: 130, cachedInput: 100, reasoning: 20 }),
  usageSource: 'counted',
  costUsd: 0.0012,
  cache: 'miss',
  timeToFirstTokenMs: 20.5,
  durationMs: 2500,
  limenMicros: 321,
  responseBytes: 900,
  snapshot: 'abc',
  trace: [
    ['identify', 'key', 'ada', 'allowed', ''],
    ['limit', 'month', 'ada', 'cut', '$4.99 of $5 used in month'],
    ['settle', 'month', 'ada', 'settled', 'reserved $0.003, settled $0.0012'],
  ],
  overrun: ['day'],
  cutOffTokens: 130,
};

const FAILED: LoggedRequest['failedAttempts'][number] = {
  requestId: ROW.requestId,
  ordinal: 1,
  time: ROW.time,
  provider: 'openai',
  providerModel: 'gpt',
  status: 504,
  outcome: 'status',
  mayBeBilled: true,
  costUsd: 0.01,
  durationMs: 1234,
  retryAfterSeconds: 0,
};

function errorReply(error: unknown): Reply {
  if (!(error instanceof AdminError)) throw error;
  return new Reply(error.status, { error: { code: error.code, message: error.message } });
}

let server: Server;
let url = '';
const requests = new Map<string, LoggedRequest>();
let isAway = false;

beforeAll(async () => {
  const routes = requestRoutes({
    read: (id) =>
      isAway ? Promise.reject(new Error('ECONNREFUSED db.internal')) : Promise.resolve(requests.get(id)),
  });
  server = createServer((request, response) => {
    const { route, params } = findRoute(routes, request.method ?? 'GET', request.url ?? '/');
    const answered = route.answer({
      params,
      query: new URLSearchParams(),
      readBody: () => Promise.resolve(undefined),
      caller: ADMIN_TOKEN_CALLER,
      asking: { headers: request.headers, address: '127.0.0.1', method: 'GET' },
    });
    void answered
      .catch(errorReply)
      .then(({ status, body }) =>
        response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body)),
      );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  url = `http://127.0.0.1:${String(typeof address === 'object' && address !== null ? address.port : 0)}`;
});

afterAll(async () => {
  await new Promise((resolve) => server.close(resolve));
});

beforeEach(() => {
  isAway = false;
  requests.clear();
});

interface Outcome {
  readonly out: string;
  readonly err: string;
  readonly code: number;
}

async function explain(...args: readonly string[]): Promise<Outcome> {
  const lines: { out: string[]; err: string[] } = { out: [], err: [] };
  let code = 0;
  const program = new Command('limen').exitOverride();
  registerExplainCommand(program, {
    settings: () =>
      readSettings({ LIMEN_ADMIN_URL: url, LIMEN_ADMIN_TOKEN: 'admin-0123456789abcdef0123456789abcdef' }),
    environment: {},
    root: '/',
    out: (text) => lines.out.push(text),
    err: (text) => lines.err.push(text),
    stdin: () => Promise.resolve(''),
    setExitCode: (wanted) => (code = wanted),
  });
  await program.parseAsync(['explain', ...args], { from: 'user' });
  return { out: lines.out.join('\n'), err: lines.err.join('\n'), code };
}

describe('limen explain', () => {
  it('shows the request, every decision in order, and the failed tries', async () => {
    requests.set(ROW.requestId, { row: ROW, failedAttempts: [FAILED] });
    const { out, code } = await explain(ROW.requestId);
    expect(code).toBe(0);
    expect(out).toBe(`request  1f0c2b6e-8a52-4d1b-9c7e-3a5d2e9b4f60
when     2027-01-31 08:00:05.123 UTC
who      ada (key key-1, team engine, tenant acme)
asked    messages, model quick → fast, streamed
answer   200, from claude (claude-haiku), 2 tries, cache miss, cut off after 130 tokens, overran day
tokens   1110 in (100 cached), 130 out (20 reasoning), counted
cost     $0.0012
time     2.5 s in all, 21 ms to the provider's first byte, 0.3 ms of it Limen's decision

CHECKPOINT  RULE   SUBJECT  OUTCOME  NUMBERS
identify    key    ada      allowed  -
limit       month  ada      cut      $4.99 of $5 used in month
settle      month  ada      settled  reserved $0.003, settled $0.0012

FAILED TRY  PROVIDER  MODEL  STATUS  OUTCOME  TOOK   MAY COST
1           openai    gpt    504     status   1.2 s  $0.01`);
  });

  it('shows one that was refused before anyone was identified', async () => {
    const refused: GatewayLogRow = {
      ...ROW,
      keyId: '',
      user: '',
      modelAsked: '',
      model: '',
      provider: '',
      providerModel: '',
      stream: false,
      attempts: 0,
      status: 401,
      errorCode: 'invalid_api_key',
      usage: makeUsage({}),
      usageSource: 'none',
      costUsd: 0,
      cache: '',
      timeToFirstTokenMs: 0,
      durationMs: 1,
      trace: [['identify', 'key', '', 'refused', 'invalid_api_key']],
      overrun: [],
      cutOffTokens: undefined,
    };
    requests.set('refused', { row: refused, failedAttempts: [] });
    const { out } = await explain('refused');
    expect(out).toContain(
      'who      nobody was identified\nasked    messages\nanswer   401, invalid_api_key\n',
    );
    expect(out).toContain('tokens   none\ncost     $0\n');
    expect(out.split('\n').at(-1)).toMatch(/^identify +key +- +refused +invalid_api_key$/);
  });

  it("prints the API's own answer as JSON", async () => {
    requests.set(ROW.requestId, { row: ROW, failedAttempts: [FAILED] });
    const { out } = await explain(ROW.requestId, '--json');
    expect(JSON.parse(out)).toMatchObject({
      id: ROW.requestId,
      trace: [{ checkpoint: 'identify' }, { outcome: 'cut' }, { checkpoint: 'settle' }],
      failedAttempts: [{ ordinal: 1, mayBeBilled: true }],
    });
  });

  it('says what an id looks like, and when requests appear, where there is none', async () => {
    const { out, err, code } = await explain('../keys');
    expect([out, code]).toEqual(['', 1]);
    expect(err).toContain('There is no request "../keys"');
    expect(err).toContain('some seconds after');
    expect(err).toContain('x-request-id');
  });

  it('says that the database is away, and nothing of where it is', async () => {
    isAway = true;
    const { err, code } = await explain(ROW.requestId);
    expect(code).toBe(1);
    expect(err).toContain('does not answer');
    expect(err).not.toContain('db.internal');
  });

  it("lets nothing of a client's making move the cursor of a terminal", async () => {
    const row = {
      ...ROW,
      modelAsked: 'a\u001b[2Jb\u202ec\nd',
      trace: [['a\u0007', '\r', '', '', '']] as const,
    };
    requests.set(ROW.requestId, { row, failedAttempts: [] });
    const { out } = await explain(ROW.requestId);
    expect(out).toContain('model a\uFFFD[2Jb\uFFFDc\uFFFDd');
    expect(out.replaceAll('\n', '')).not.toMatch(/[\p{Cc}\p{Cf}]/u);
  });
});
