import { describe, expect, it } from 'vitest';
import type { HeadDecision } from './front.ts';
import { Front } from './__fixtures__/front.ts';
import { LimenError } from '../core/errors.ts';
import { UnidentifiedRequests } from './unidentified.ts';

const contextOf = (decision: HeadDecision) => (decision.kind === 'answer' ? decision.context : undefined);

const SECRET = 'tw-somebodys-real-key-with-one-letter-wrong';

describe('a request that is nobody’s', () => {
  it('is a row that says why, without what was sent', async () => {
    const front = new Front();
    const headers = { authorization: `Bearer ${SECRET}` };
    const context = contextOf(await front.head('/v1/messages', { method: 'POST', headers }));
    expect(context).toMatchObject({
      requestId: 'r',
      user: '',
      keyId: '',
      format: 'messages',
      intentId: '',
      snapshot: 'v',
      targets: [],
      trace: [['identify', '', '', 'refused', expect.stringMatching(/^invalid_api_key: /)]],
    });
    expect(JSON.stringify(context)).not.toContain('somebodys');
    expect(front.admitted).toEqual([]);
  });

  it('is none where something else was wrong with it', async () => {
    const nowhere = await new Front().head('/nothing/here');
    expect([nowhere.kind, contextOf(nowhere)]).toEqual(['answer', undefined]);
  });

  it('is a row no more than 20 times a second: nobody needs a credential to make one', async () => {
    const front = new Front();
    const header = () => undefined;
    const contexts = [];
    for (let count = 0; count < 25; count += 1) {
      contexts.push(contextOf(await front.head('/v1/models', { header })));
    }
    expect(contexts.filter((context) => context !== undefined)).toHaveLength(20);

    let now = 1000;
    const requests = new UnidentifiedRequests(() => now);
    const error = new LimenError('invalid_token', 'Not valid here.', { cause: new Error('aud is no text') });
    const head = { method: 'POST', path: '/', requestId: 'r', header, endOfStream: true };
    const refused = () => requests.refused(error, { head, format: 'chat', snapshot: 'v', milliseconds: 1 });
    const lines = Array.from({ length: 21 }, () => refused()?.trace[0]?.[4]);
    expect(new Set(lines)).toEqual(new Set(['invalid_token: aud is no text', undefined]));
    now += 1000;
    expect(refused()).toBeDefined();
  });
});
