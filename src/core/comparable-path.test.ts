import { describe, expect, it } from 'vitest';
import { comparablePath, isBelow } from './comparable-path.ts';

describe('a comparable path', () => {
  it.each([
    ['', ''],
    ['/', ''],
    ['/a/b', '/a/b'],
    ['/a/b/', '/a/b'],
    ['//a///b', '/a/b'],
    ['/Admin/X', '/admin/x'],
    ['/%61dmin', '/admin'],
    ['/admin;x=1/y;z', '/admin/y'],
    ['/admin%3bx', '/admin'],
    ['/;x/admin', '/admin'],
    ['/%C3%84', '/ä'],
    ['/a%20b', '/a b'],
    ['/100%25', '/100%'],
    ['/...', '/...'],
  ])('%s is %s', (path, comparable) => {
    expect(comparablePath(path)).toBe(comparable);
  });

  it.each([
    '/..',
    '/a/./b',
    '/%2e%2E/a',
    '/..;a/b',
    '/a%2fb',
    '/a%5Cb',
    '/a\\b',
    '/a%00',
    '/%zz',
    '/%ff',
    '/a\nb',
    '/%2561dmin',
    '/%252E%252e/a',
    '/a%25%32f',
  ])('%s is none', (path) => {
    expect(comparablePath(path)).toBeUndefined();
  });

  it('lies at a prefix or below it, by whole segments', () => {
    expect(isBelow('/v1', '/v1')).toBe(true);
    expect(isBelow('/v1/x', '/v1')).toBe(true);
    expect(isBelow('/v10', '/v1')).toBe(false);
    expect(isBelow('/v1', '/v1/x')).toBe(false);
    expect(isBelow('', '')).toBe(true);
    expect(isBelow('/x', '')).toBe(true);
  });
});
