import { describe, expect, it } from 'vitest';
import type { Principal } from '../core/principal.ts';
import { identityFields } from './identity-headers.ts';

function fieldsOf(more: Partial<Principal>) {
  return identityFields({
    user: 'ada',
    keyId: 'k',
    kind: 'key',
    groups: [],
    roles: [],
    scopes: [],
    features: [],
    surfaces: [],
    ...more,
  });
}

describe('identity headers', () => {
  it('leave out what is not known', () => {
    expect(fieldsOf({})).toEqual({ user: 'ada', admin: 'false', validated: 'true' });
  });

  it.each([
    ['a\r\nx-user-admin: true', 'a%0D%0Ax-user-admin: true'],
    ['100%41', '100%2541'],
    ['äß 中 😀', '%C3%A4%C3%9F %E4%B8%AD %F0%9F%98%80'],
    ['\ud800', '%EF%BF%BD'],
    ['\u0000\u007f', '%00%7F'],
    [' padded ', 'padded'],
  ])('carry %j as printable text that reads back', (name, text) => {
    expect(fieldsOf({ name }).name).toBe(text);
    expect(decodeURIComponent(text)).toBe(name.trim().toWellFormed());
  });

  it('keep the members of a list apart', () => {
    const { groups, scopes } = fieldsOf({ groups: ['a,b', 'c d'], scopes: ['e f', 'g'] });
    expect([groups, scopes]).toEqual(['a%2Cb,c d', 'e%20f g']);
  });

  it('are bounded: no name is cut, a list ends before what is too long', () => {
    expect(fieldsOf({ user: 'x'.repeat(5000) }).user).toBeUndefined();
    const groups = Array.from({ length: 1000 }, (_, index) => `group-${String(index)}`);
    const told = fieldsOf({ groups }).groups ?? '';
    expect(told.length).toBeLessThanOrEqual(4096);
    expect(groups).toContain(told.split(',').at(-1));
  });

  it('call administrators such alone', () => {
    expect(fieldsOf({ roles: ['admin'] }).admin).toBe('true');
    expect(fieldsOf({ roles: ['Admin', 'team-manager', 'administrator'] }).admin).toBe('false');
  });

  it('call nobody an administrator whose credential is bounded', () => {
    const roles = ['super-admin'];
    expect(fieldsOf({ roles, permissions: ['models:use'] }).admin).toBe('false');
    expect(fieldsOf({ roles, kind: 'token', surfaces: ['model', 'backend'] }).admin).toBe('false');
    expect(fieldsOf({ roles, kind: 'token', surfaces: ['backend', 'admin'] }).admin).toBe('true');
  });
});
