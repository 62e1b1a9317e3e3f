import { createServer, type Server, type Socket } from 'node:net';
import { once } from 'node:events';
import { afterEach, describe, expect, test } from 'vitest';
import {
  openai,
  refusedUrl,
  type ScriptedUpstream,
  silent,
  startUpstream,
} from '../../test/support/upstream/index.ts';
import { DurationHistogram } from './histogram.ts';
import { failedRequests, httpRequest, type LoadProblem, runLoad } from './load.ts';
import { MessageReader } from './message-reader.ts';

describe('DurationHistogram', () => {
  test('percentiles are right to one percent', () => {
    const histogram = new DurationHistogram();
    for (let value = 1; value <= 1000; value += 1) histogram.record(value);
    const { count, mean, p50, p90, p99, max } = histogram.summary();
    expect([count, mean, max]).toEqual([1000, 500.5, 1000]);
    for (const [actual, exact] of [
      [p50, 500],
      [p90, 900],
      [p99, 990],
    ] as const) {
      expect(actual).toBeGreaterThanOrEqual(exact);
      expect(actual).toBeLessThanOrEqual(exact * 1.011);
    }
  });

  test('nothing recorded gives zeros, and extremes have a place', () => {
    expect(new DurationHistogram().summary()).toMatchObject({ count: 0, mean: 0, p50: 0, p99: 0 });
    const histogram = new DurationHistogram();
    histogram.record(0);
    histogram.record(1e12);
    expect(histogram.summary().max).toBe(1e12);
  });
});

describe('MessageReader', () => {
  const messages = [
    'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nx-trailer: 1\r\n\r\n',
    'HTTP/1.1 200 OK\r\ncontent-length:5\r\nconnection: close\r\n\r\nhello',
    'HTTP/1.1 204 No Content\r\n\r\n',
  ];

  test('reads any split of any framing alike', () => {
    const bytes = Buffer.from(messages.join(''));
    for (const size of [1, 2, 3, 7, 64, bytes.length]) {
      const read: string[] = [];
      let body = '';
      const reader = new MessageReader('response', (piece) => {
        body += piece.toString();
      });
      for (let at = 0; at < bytes.length; at += size) {
        let complete = reader.push(bytes.subarray(at, at + size));
        while (complete) {
          read.push(`${reader.status} ${body} ${reader.keepAlive}`);
          body = '';
          reader.next();
          complete = reader.push(Buffer.alloc(0));
        }
      }
      expect(read).toEqual(['200 hello true', '200 hello true', '200 hello false', '204  true']);
    }
  });

  test('a body without a length ends with the connection', () => {
    const reader = new MessageReader('response', () => undefined);
    expect(reader.push(Buffer.from('HTTP/1.1 200 OK\r\n\r\nsome'))).toBe(false);
    expect(reader.end()).toBe(true);
    expect(reader.bodyBytes).toBe(4);
  });

  test('reads requests, with a body and without', () => {
    const reader = new MessageReader('request', () => undefined);
    expect(
      reader.push(
        Buffer.from('GET / HTTP/1.1\r\nhost: a\r\n\r\nPOST /x HTTP/1.1\r\ncontent-length: 2\r\n\r\nok'),
      ),
    ).toBe(true);
    expect(reader.startLine).toBe('GET / HTTP/1.1');
    reader.next();
    expect(reader.push(Buffer.alloc(0))).toBe(true);
    expect([reader.startLine, reader.bodyBytes]).toEqual(['POST /x HTTP/1.1', 2]);
  });

  test('refuses what is no HTTP', () => {
    const reader = new MessageReader('response', () => undefined);
    expect(() => reader.push(Buffer.from('SSH-2.0-x\r\n\r\n'))).toThrow('No HTTP response');
  });
});

describe('runLoad', () => {
  let upstream: ScriptedUpstream | undefined;
  let raw: Server | undefined;

  afterEach(async () => {
    await upstream?.close();
    raw?.close();
    upstream = undefined;
    raw = undefined;
  });

  const requestFor = (url: string, stream: boolean) =>
    httpRequest({
      path: openai.pathFor('m', false),
      host: new URL(url).host,
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'm', stream, messages: [{ role: 'user', content: 'Hi' }] }),
    });

  async function load(stream: boolean, more: object = {}) {
    const url = upstream?.url ?? '';
    const bytes = requestFor(url, stream);
    const problems: LoadProblem[] = [];
    const result = await runLoad({
      url,
      connections: 4,
      durationMs: 10_000,
      maxRequests: 40,
      request: () => bytes,
      onProblem: (problem) => problems.push(problem),
      ...more,
    });
    return { result, problems };
  }

  test('counts whole answers, over connections that are kept', async () => {
    upstream = await startUpstream();
    upstream.always(openai.answer({ text: ['a', 'b'] }));
    const { result } = await load(false);
    expect(result).toMatchObject({
      started: 40,
      completed: 40,
      statuses: { 200: 40 },
      failures: {},
      left: 0,
    });
    expect(failedRequests(result)).toBe(0);
    expect(result.latencyMs.p50).toBeGreaterThan(0);
    expect(upstream.requests.every((request) => request.json() !== undefined)).toBe(true);
  });

  test('tells the first byte of a stream from its end, and checks the ending', async () => {
    upstream = await startUpstream();
    upstream.always(openai.answer({ text: ['a', 'b', 'c', 'd'] }, { paceMs: 30 }));
    const { result } = await load(true, { endMarker: '[DONE]', maxRequests: 8 });
    expect(result.completed).toBe(8);
    expect(result.latencyMs.p50 - result.firstByteMs.p50).toBeGreaterThan(30);
    upstream.always(openai.broken({ text: ['a', 'b'] }, { deltas: 2, how: 'early-end' }));
    const early = await load(true, { endMarker: '[DONE]', maxRequests: 4 });
    expect(early.result).toMatchObject({ completed: 0, failures: { wrong_ending: 4 } });
  });

  test('tells the ways to fail apart', async () => {
    upstream = await startUpstream();
    upstream.next(
      openai.error(500),
      openai.broken({ text: ['a', 'b'] }, { deltas: 2, how: 'cut' }),
      openai.broken({ text: ['a', 'b'] }, { deltas: 2, how: 'reset' }),
      silent(),
      openai.answer({ text: ['after all'] }),
    );
    const { result, problems } = await load(true, { connections: 1, maxRequests: 5, timeoutMs: 2500 });
    expect(result).toMatchObject({
      started: 5,
      completed: 1,
      statuses: { 500: 1, 200: 1 },
      failures: { early_end: 1, reset: 1, timeout: 1 },
    });
    expect(problems.map(({ kind }) => kind)).toEqual(['status', 'early_end', 'reset', 'timeout']);
    expect(problems[0]?.tail).toContain('server_error');
    const url = await refusedUrl();
    const away = await load(false, { url, maxRequests: 4 });
    expect(away.result).toMatchObject({ completed: 0, failures: { connect: 4 } });
  });

  test('leaves in the middle of answers', async () => {
    upstream = await startUpstream();
    upstream.always(openai.endless('more ', { paceMs: 1 }));
    const { result } = await load(true, { maxRequests: 6, leaveAfterBytes: 1000 });
    expect(result).toMatchObject({ left: 6, completed: 0, failures: {} });
    const closings = await Promise.all(upstream.requests.map((request) => request.closed));
    expect(closings.every(({ by }) => by === 'peer')).toBe(true);
  });

  test('takes an answer that comes before the request was read', async () => {
    raw = createServer((socket: Socket) => {
      socket.on('error', () => undefined);
      socket.once('data', () => {
        socket.write('HTTP/1.1 413 Payload Too Large\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno');
      });
    }).listen(0, '127.0.0.1');
    await once(raw, 'listening');
    const address = raw.address();
    const url = `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`;
    const big = httpRequest({ path: '/', host: 'a', body: Buffer.alloc(8 * 1024 * 1024) });
    const result = await runLoad({
      url,
      connections: 1,
      durationMs: 10_000,
      maxRequests: 2,
      request: () => big,
    });
    expect(result.statuses).toEqual({ 413: 2 });
  });
});
