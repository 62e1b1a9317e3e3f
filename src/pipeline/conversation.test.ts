import { describe, expect, it } from 'vitest';
import { MAX_KEPT_BYTES } from '../core/ledger.ts';
import { Front, jsonOf, SNAPSHOT } from './__fixtures__/front.ts';
import { ownerOf } from '../core/principal.ts';
import { conversationKey, keptItems } from './conversation.ts';

const RESPONSES = '/v1/responses';
const storing = {
  ...SNAPSHOT,
  gateway: { ...SNAPSHOT.gateway, responses: { storeSeconds: 600 } },
};
const EARLIER = keptItems(
  '{"role":"user","content":"one"},{"type":"message","role":"assistant","content":"two"}',
);

describe('previous_response_id', () => {
  it.each([['previous_response_id', { previous_response_id: 'resp_1' }]])(
    'is refused by the name of the setting where nothing is kept (%s)',
    async (param, member) => {
      const front = new Front();
      const answer = await front.answer(RESPONSES, { model: 'fast', input: 'hi', ...member });
      expect(answer.status).toBe(400);
      expect(jsonOf(answer.body)).toMatchObject({
        error: {
          type: 'invalid_request_error',
          param,
          message: expect.stringContaining('Gateway.spec.responses.storeSeconds'),
        },
      });
      expect(front.admitted).toEqual([]);
    },
  );

  it.each([{ conversation: 'conv_1' }, { conversation: { id: 'conv_1' } }, { background: true }])(
    'and %j, which name what a provider has stored for somebody, never reach one',
    async (member) => {
      const front = new Front({ snapshot: storing });
      const answer = await front.answer(RESPONSES, { model: 'fast', input: 'hi', ...member });
      expect(answer.error?.code).toBe('invalid_request');
    },
  );

  it('is refused where it stands twice', async () => {
    const body = '{"model":"fast","input":"hi","previous_response_id":null,"previous_response_id":"resp_1"}';
    expect((await new Front().answer(RESPONSES, body)).status).toBe(400);
  });

  it('changes nothing for those who do not use it', async () => {
    const body = '{"model": "fast", "input": "hi", "previous_response_id": null, "store": false}';
    const { body: sent, context } = await new Front().forward(RESPONSES, body);
    expect(sent.toString()).toBe(body);
    expect(context).toMatchObject({ mode: 'native', keep: undefined });
  });

  it('is replaced by the conversation that was kept', async () => {
    const front = new Front({ snapshot: storing, admission: () => ({ found: EARLIER }) });
    const { body, context } = await front.forward(RESPONSES, {
      model: 'fast',
      input: 'three',
      previous_response_id: 'resp_1',
    });
    expect(jsonOf(body)).toEqual({
      model: 'fast',
      input: [
        { role: 'user', content: 'one' },
        { type: 'message', role: 'assistant', content: 'two' },
        { type: 'message', role: 'user', content: 'three' },
      ],
    });
    expect(context).toMatchObject({ mode: 'strip', keep: { storeSeconds: 600 } });
    const [admitted] = front.admitted;
    expect(admitted?.wanted).toBe(conversationKey(ownerOf({ keyId: 'k', user: 'ann' }), 'resp_1'));
    expect(admitted?.keep).toMatchObject({ ttlSeconds: 3600 });
    expect(admitted?.keep?.value.toString()).toBe('{"type":"message","role":"user","content":"three"},');
  });

  it('finds nothing of another user of the same issuer, nor of another tenant', () => {
    const token = { keyId: 'token/corp', user: 'corp:ada' };
    const owners = [
      token,
      { ...token, user: 'corp:alice' },
      { ...token, tenant: 'acme' },
      { keyId: 'corp:ada', user: 'token/corp' },
    ].map(ownerOf);
    expect(new Set(owners.map((owner) => conversationKey(owner, 'resp_1'))).size).toBe(4);
  });

  it('finds nothing of another key', () => {
    expect(conversationKey('k', 'resp_1')).not.toBe(conversationKey('k2', 'resp_1'));
    expect(conversationKey('k', 'resp_1')).not.toBe(conversationKey('k,resp_1', ''));
  });

  it('answers 404 where it names nothing, and the row is closed', async () => {
    const answer = await new Front({ snapshot: storing }).answer(RESPONSES, {
      model: 'fast',
      input: 'x',
      previous_response_id: 'resp_9',
    });
    expect(answer.status).toBe(404);
    expect(answer.context?.intentId).toBe('1-1');
    expect(jsonOf(answer.body)).toMatchObject({
      error: {
        message: "Previous response with id 'resp_9' not found.",
        param: 'previous_response_id',
      },
    });
  });

  it('answers 503 where nobody could look', async () => {
    const front = new Front({ snapshot: storing, admission: () => ({ intentId: '' }) });
    const body = { model: 'fast', input: 'x', previous_response_id: 'resp_1' };
    expect((await front.answer(RESPONSES, body)).status).toBe(503);
  });

  it('keeps nothing of a request that forbids it', async () => {
    const front = new Front({ snapshot: storing, admission: () => ({ found: EARLIER }) });
    const body = { model: 'fast', input: 'x', previous_response_id: 'resp_1', store: false };
    const { context } = await front.forward(RESPONSES, body);
    expect([front.admitted[0]?.keep, context.keep]).toEqual([undefined, undefined]);
  });

  it('is not sent along where it is too large to be kept', async () => {
    const limits = { requestBody: 4_000_000, bytesInFlightPerWorker: 8_000_000 };
    const front = new Front({ snapshot: { ...storing, gateway: { ...storing.gateway, limits } } });
    await front.forward(RESPONSES, { model: 'fast', input: 'x'.repeat(MAX_KEPT_BYTES) });
    expect(front.admitted).toMatchObject([{ keep: undefined }]);
  });

  it('and what grows beyond the limit is refused', async () => {
    const found = keptItems(JSON.stringify({ role: 'user', content: 'x'.repeat(100_000) }));
    const front = new Front({ snapshot: storing, admission: () => ({ found }) });
    const body = { model: 'fast', input: 'x', previous_response_id: 'resp_1' };
    expect((await front.answer(RESPONSES, body)).status).toBe(413);
  });

  it.each(['GET', 'DELETE', 'POST'])('is all that refers to an answer: %s finds none', async (method) => {
    const answer = await new Front({ snapshot: storing }).head('/v1/responses/resp_1', { method });
    expect(answer.kind === 'answer' && [answer.status, jsonOf(answer.body)]).toMatchObject([
      404,
      { error: { code: 'not_found' } },
    ]);
  });
});
