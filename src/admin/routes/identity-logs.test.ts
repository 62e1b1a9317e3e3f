import { beforeEach, describe, expect, it } from 'vitest';
import { NOBODY } from '../caller.ts';
import type { Route } from '../router.ts';
import { identityLogRoutes, type IdentityLogRoutesOptions } from './identity-logs.ts';

const SECRET = 'the secret of a webhook';

let route: Route | undefined;
let taken: string[];
let outcome: ReturnType<IdentityLogRoutesOptions['logs']['take']>;
let clock: number;
let isBodyRead: boolean;

beforeEach(() => {
  taken = [];
  outcome = { registrations: 2 };
  clock = 0;
  isBodyRead = false;
  [route] = identityLogRoutes({
    logs: {
      isSecret: (provider, given) => provider === 'corp' && given.includes(SECRET),
      take: (provider, text) => {
        taken.push(`${provider}: ${text}`);
        return outcome;
      },
    },
    now: () => clock,
  });
});

async function send(headers: Readonly<Record<string, string>>, address = '203.0.113.7', name = 'corp') {
  return await route?.answer({
    params: { name },
    query: new URLSearchParams(),
    readBody: (type, largestBytes) => {
      isBodyRead = true;
      return Promise.resolve(`${type} of at most ${largestBytes ?? 0}`);
    },
    caller: NOBODY,
    asking: { method: 'POST', headers, address },
  });
}

describe('the webhook for logs', () => {
  it.each([
    { authorization: SECRET },
    { authorization: `Bearer ${SECRET}` },
    { authorization: `bearer  ${SECRET}` },
    { 'x-webhook-secret': SECRET },
    { authorization: 'Basic of-a-proxy', 'x-webhook-secret': SECRET },
  ])('takes %j', async (headers) => {
    expect(await send(headers)).toMatchObject({ status: 202, body: { registrations: 2 } });
    expect(taken).toEqual(['corp: text of at most 1048576']);
  });

  it.each([{}, { authorization: '' }, { authorization: 'Bearer ' }, { authorization: `Basic ${SECRET}` }])(
    'reads no body without its secret: %j',
    async (headers) => {
      await expect(send(headers)).rejects.toMatchObject({ code: 'unauthorized' });
      await expect(send({ authorization: SECRET }, '203.0.113.7', 'other')).rejects.toMatchObject({
        code: 'unauthorized',
      });
      expect(isBodyRead).toBe(false);
      expect(taken).toEqual([]);
    },
  );

  it('bounds wrong secrets of an address, and never keeps out the right one', async () => {
    for (let count = 0; count < 60; count += 1)
      await expect(send({})).rejects.toMatchObject({ code: 'unauthorized' });
    await expect(send({})).rejects.toMatchObject({
      code: 'too_many_requests',
      details: { retryAfterSeconds: 60 },
    });
    await expect(send({}, '203.0.113.8')).rejects.toMatchObject({ code: 'unauthorized' });
    expect(await send({ authorization: SECRET })).toMatchObject({ status: 202 });
    clock = 61_000;
    await expect(send({})).rejects.toMatchObject({ code: 'unauthorized' });
  });

  it.each([
    ['unreadable', 'invalid_request'],
    ['too many', 'too_large'],
    ['no room', 'unavailable'],
  ] as const)('says that a delivery is %s', async (delivery, code) => {
    outcome = delivery;
    await expect(send({ authorization: SECRET })).rejects.toMatchObject({ code });
  });
});
