import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { identify, readCredential } from './identify.ts';

const headers =
  (values: Record<string, string>) =>
  (name: string): string | undefined =>
    values[name];

describe('readCredential', () => {
  it.each([
    [{ authorization: 'Bearer tw-1' }, ''],
    [{ authorization: 'bearer   tw-1 ' }, ''],
    [{ 'x-api-key': 'tw-1' }, ''],
    [{ 'x-goog-api-key': 'tw-1' }, ''],
    [{ 'api-key': 'tw-1' }, ''],
    [{}, 'alt=sse&key=tw-1'],
    [{ authorization: 'Bearer tw-1', 'x-api-key': 'tw-1' }, 'key=tw-1'],
  ])('reads %j with query %j', (values, query) => {
    expect(readCredential(headers(values), query)).toBe('tw-1');
  });

  it.each([
    [{ authorization: 'Bearer tw-1', 'x-api-key': 'tw-2' }, ''],
    [{ 'x-api-key': 'tw-1' }, 'key=tw-2'],
    [{}, 'key=tw-1&key=tw-2'],
  ])('refuses two that differ: %j with query %j', (values, query) => {
    expect(() => readCredential(headers(values), query)).toThrow(
      expect.objectContaining({ code: 'conflicting_credentials', status: 400 }),
    );
  });

  it.each([
    [{}, ''],
    [{ authorization: '' }, ''],
    [{ 'x-api-key': ' ' }, 'key='],
  ])('refuses none: %j with query %j', (values, query) => {
    expect(() => readCredential(headers(values), query)).toThrow(
      expect.objectContaining({ code: 'missing_api_key', status: 401 }),
    );
  });
});

describe('identify', () => {
  const hash = createHash('sha256').update('tw-1').digest('hex');
  const key = { id: 'k1', hash, user: 'ann', expiresAt: 1000 };
  const lookup = (wanted: string) => (wanted === hash ? key : undefined);

  it('finds a key by its hash alone', () => {
    expect(identify('tw-1', lookup, 999)).toBe(key);
  });

  it.each([
    ['an unknown key', 'tw-2', 999],
    ['an expired key', 'tw-1', 1000],
    ['a key that is the hash itself', hash, 999],
    ['a huge key', 'x'.repeat(10_000), 999],
  ])('refuses %s with the same words', (_case, credential, now) => {
    expect(() => identify(credential, lookup, now)).toThrow(
      expect.objectContaining({
        code: 'invalid_api_key',
        message: expect.stringContaining('is not valid here'),
      }),
    );
  });
});
