import { describe, expect, it } from 'vitest';
import { principal } from '../stages/__fixtures__/snapshot.ts';
import { Front, jsonOf, model, SNAPSHOT } from './__fixtures__/front.ts';
import { modelNames } from './listing.ts';

const many = Object.fromEntries(
  Array.from({ length: 60 }, (_, index) => [`m${index}`, model(`m${index}`, ['openai'])]),
);
const crowd = { snapshot: { ...SNAPSHOT, models: many } };
const ANTHROPIC = { 'anthropic-version': '2023-06-01' };

async function body(front: Front, path: string, headers: Record<string, string> = {}): Promise<unknown> {
  const answer = await front.head(path, { headers: { authorization: 'Bearer tw-key', ...headers } });
  return answer.kind === 'answer' ? jsonOf(answer.body) : undefined;
}

describe('the list of models', () => {
  it.each([
    ['/v1/models/%zz', 404],
    ['/v1/models/constructor', 404],
    ['/v1/models/f%61st', 200],
    ['/v1/models/quick', 200],
    ['/v1beta/models/flash', 200],
  ])('answers %s with %i', async (path, status) => {
    const answer = await new Front().head(path);
    expect(answer.kind === 'answer' && answer.status).toBe(status);
  });

  it('has the shape of whichever API asks', async () => {
    const models = { fast: model('fast', ['openai']), flash: model('flash', ['gemini']) };
    const front = new Front({ snapshot: { ...SNAPSHOT, models } });
    expect(await body(front, '/v1/models')).toMatchObject({
      object: 'list',
      data: [{ id: 'fast', object: 'model' }, {}],
    });
    expect(await body(front, '/v1/models', ANTHROPIC)).toMatchObject({
      data: [{ type: 'model' }, {}],
      has_more: false,
    });
    expect(await body(front, '/v1beta/models')).toMatchObject({ models: [{ name: 'models/fast' }, {}] });
    expect(await body(front, '/v1/models', { authorization: '', 'x-goog-api-key': 'tw-key' })).toHaveProperty(
      'models',
    );
    expect(await body(front, '/v1/models/quick')).toMatchObject({ id: 'quick', owned_by: 'openai' });
    expect(await body(front, '/v1beta/models/flash')).toMatchObject({ name: 'models/flash' });
  });

  it('shows no model that the key may not use, not even by an alias', async () => {
    const front = new Front({ key: { models: ['claude'] } });
    expect(await body(front, '/v1/models')).toMatchObject({ data: [{ id: 'claude' }] });
    expect(await body(front, '/v1/models/quick')).toMatchObject({ error: { code: 'model_not_found' } });
  });

  it('is found once for a caller and a configuration, however often it is asked for', () => {
    const ada = principal({ roles: ['developer'] });
    const names = modelNames(crowd.snapshot, ada);
    expect(names).toHaveLength(60);
    expect(modelNames(crowd.snapshot, ada)).toBe(names);
    expect(modelNames(crowd.snapshot, principal({ roles: ['developer'], models: ['m1'] }))).toEqual(['m1']);
    expect(modelNames({ ...crowd.snapshot, models: {} }, ada)).toEqual([]);
    for (let index = 0; index < 600; index += 1) modelNames(crowd.snapshot, principal({ roles: [] }));
    expect(modelNames(crowd.snapshot, ada)).not.toBe(names);
    expect(modelNames(crowd.snapshot, ada)).toEqual(names);
  });

  it('pages as Anthropic does', async () => {
    const front = new Front(crowd);
    expect(await body(front, '/v1/models?limit=2', ANTHROPIC)).toMatchObject({
      data: [{ id: 'm0' }, { id: 'm1' }],
      has_more: true,
      first_id: 'm0',
      last_id: 'm1',
    });
    expect(await body(front, '/v1/models?limit=40&after_id=m19', ANTHROPIC)).toMatchObject({
      has_more: false,
    });
    expect(await body(front, '/v1/models?limit=2&before_id=m5', ANTHROPIC)).toMatchObject({
      data: [{ id: 'm3' }, { id: 'm4' }],
      has_more: true,
    });
    expect(await body(front, '/v1/models?limit=0', ANTHROPIC)).toMatchObject({ type: 'error' });
  });

  it('pages as Gemini does', async () => {
    const front = new Front(crowd);
    const first = await body(front, '/v1beta/models');
    expect(first).toMatchObject({ nextPageToken: '50' });
    const rest = await body(front, '/v1beta/models?pageToken=50');
    expect(rest).toHaveProperty('models.0.name', 'models/m50');
    expect(rest).not.toHaveProperty('nextPageToken');
    expect(await body(front, '/v1beta/models?pageToken=x')).toMatchObject({
      error: { status: 'INVALID_ARGUMENT' },
    });
  });
});
