import { randomBytes } from 'node:crypto';
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { TestRedis } from '../../../test/support/redis.ts';
import type { AdmitRequest } from '../../core/ledger.ts';
import { createLogger } from '../../telemetry/logger.ts';
import { connectRedis, redisReady } from './connection.ts';
import { RedisKeptAnswers } from './kept-answers.ts';
import { RedisLedger } from './ledger.ts';
import { sampleAdmission } from './testing/samples.ts';

const logger = createLogger('test', 'silent');
const MEBIBYTE = 1_048_576;
const domain = 'kept';
let server: TestRedis;
let redis: Redis;

beforeAll(async () => {
  server = await TestRedis.start();
  redis = connectRedis({ url: server.url, logger, commandTimeoutMs: 5000 });
  await redisReady(redis, 10_000);
});

afterAll(async () => {
  redis.disconnect();
  await server.stop();
});

function keptAnswers() {
  const observer = {
    answersKept: vi.fn<(count: number) => void>(),
    answersNotKept: vi.fn<(count: number) => void>(),
  };
  return { observer, kept: new RedisKeptAnswers({ redis, observer, domain }) };
}

const silent = {
  admitFailed: () => undefined,
  settled: () => undefined,
  dropped: () => undefined,
  settleFailed: () => undefined,
  tryFailed: () => undefined,
};

function found(wanted?: string, keep?: AdmitRequest['keep']) {
  const circuitBreaker = () => ({ failures: 0, openSeconds: 30 });
  const ledger = new RedisLedger({
    redis,
    logger,
    observer: silent,
    domain,
    circuitBreaker,
    patienceMs: 10_000,
  });
  return ledger.admit(sampleAdmission('r', { providers: ['openai'], wanted, keep }));
}

describe('RedisKeptAnswers', () => {
  it('keeps any bytes for their time, and the admission finds them', async () => {
    const { kept, observer } = keptAnswers();
    const bytes = Buffer.concat([Buffer.from([0, 0xff, 0xc3, 0x28, 0x0d, 0x0a]), randomBytes(50_000)]);
    kept.put('any key: {x}', bytes, 60);
    kept.put('short-lived', bytes, 0.15);
    await vi.waitFor(() => expect(observer.answersKept).toHaveBeenCalledWith(2), 15_000);
    const admission = await found('any key: {x}');
    expect(admission.found?.equals(bytes)).toBe(true);
    expect(admission.intentId).toMatch(/^\d+-\d+$/);
    expect(admission.open.size).toBe(0);
    expect(await found('missing')).not.toHaveProperty('found');
    expect(await found()).not.toHaveProperty('found');
    await vi.waitFor(async () => expect((await found('short-lived')).found).toBeUndefined(), 15_000);
    expect((await found('any key: {x}')).found).toBeDefined();
    const keys = await redis.keys('*');
    expect(keys.every((key) => key.startsWith('{limen:kept}:'))).toBe(true);
  });

  it('takes many at once, the last of one key standing', async () => {
    const { kept, observer } = keptAnswers();
    for (let index = 0; index < 200; index += 1) kept.put('same', Buffer.from(String(index)), 60);
    await kept.flush();
    expect(observer.answersKept.mock.calls.flat().reduce((sum, count) => sum + count, 0)).toBe(200);
    expect((await found('same')).found?.toString()).toBe('199');
  });

  it('keeps nothing that is too large or too much, and nothing for no time', async () => {
    const { kept, observer } = keptAnswers();
    kept.put('large', Buffer.alloc(MEBIBYTE + 1), 60);
    kept.put('no time', Buffer.from('x'), 0);
    expect(observer.answersNotKept).toHaveBeenCalledTimes(2);
    for (let index = 0; index < 20; index += 1) kept.put(`many-${index}`, Buffer.alloc(MEBIBYTE), 60);
    expect(observer.answersNotKept).toHaveBeenCalledTimes(6);
    await kept.flush();
    expect((await found('large')).found).toBeUndefined();
    expect((await found('many-15')).found).toHaveLength(MEBIBYTE);
    expect((await found('many-16')).found).toBeUndefined();
    kept.put('after', Buffer.alloc(MEBIBYTE), 60);
    await kept.flush();
    expect((await found('after')).found).toHaveLength(MEBIBYTE);
  });

  it('puts a conversation together, turn by turn', async () => {
    const { kept, observer } = keptAnswers();
    const turn = async (name: string, text: string, wanted?: string) => {
      const admission = await found(wanted, {
        key: `pending ${name}`,
        value: Buffer.from(`${text}?`),
        ttlSeconds: 60,
      });
      kept.put(name, Buffer.from(`${text}!`), 60, `pending ${name}`);
      await kept.flush();
      return admission.found?.toString();
    };
    expect(await turn('one', 'ä')).toBeUndefined();
    expect(await turn('two', 'b', 'one')).toBe('ä?ä!');
    expect(await turn('three', 'c', 'two')).toBe('ä?ä!b?b!');
    expect(await turn('branch', 'd', 'one')).toBe('ä?ä!');
    expect((await found('three')).found?.toString()).toBe('ä?ä!b?b!c?c!');
    expect((await found('pending three')).found).toBeUndefined();
    expect(observer.answersNotKept).not.toHaveBeenCalled();
  });

  it('keeps nothing after what is gone, and nothing that grew too large', async () => {
    const { kept, observer } = keptAnswers();
    const large = { key: 'pending large', value: Buffer.alloc(MEBIBYTE - 1), ttlSeconds: 60 };
    await found('never', { ...large, key: 'pending orphan' });
    await found(undefined, large);
    kept.put('large answer', Buffer.from('ab'), 60, 'pending large');
    kept.put('orphan answer', Buffer.from('ab'), 60, 'pending orphan');
    await kept.flush();
    expect(observer.answersNotKept).toHaveBeenCalledWith(2);
    expect((await found('large answer')).found).toBeUndefined();
    expect((await found('orphan answer')).found).toBeUndefined();
    await found(undefined, { key: 'base', value: Buffer.alloc(MEBIBYTE), ttlSeconds: 60 });
    await found('base', { key: 'grown', value: Buffer.from('x'), ttlSeconds: 60 });
    expect((await found('grown')).found).toBeUndefined();
  });

  it('gives up what Redis does not take', async () => {
    const { kept, observer } = keptAnswers();
    await server.signal('SIGKILL');
    await vi.waitFor(() => expect(redis.status).not.toBe('ready'), 15_000);
    kept.put('lost', Buffer.from('x'), 60);
    await kept.flush();
    expect(observer.answersNotKept).toHaveBeenCalledWith(1);
    expect(await found('lost')).toMatchObject({ intentId: '', open: new Map(), storeAway: true });
  });
});
