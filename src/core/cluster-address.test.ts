import { expect, it } from 'vitest';
import { clusterOf } from './cluster-address.ts';

it('reads the nodes of a Redis Cluster and how to log in', () => {
  expect(clusterOf('redis+cluster://one:7000,two,[::1]:7001')).toEqual({
    hosts: [
      { host: 'one', port: 7000 },
      { host: 'two', port: 6379 },
      { host: '::1', port: 7001 },
    ],
    login: {},
    tls: false,
  });
  expect(clusterOf('rediss+cluster://limen:a%40b:c@one:7000/')).toMatchObject({
    login: { username: 'limen', password: 'a@b:c' },
    tls: true,
  });
  expect(clusterOf('redis+cluster://:secret@one')).toMatchObject({ login: { password: 'secret' } });
});

it.each([
  'redis://one:7000',
  '/run/redis.sock',
  'redis+cluster://',
  'redis+cluster://one:x',
  'redis+cluster://a,,b',
  'redis+cluster://:100%@one',
])('knows that %s is none', (url) => {
  expect(clusterOf(url)).toBeUndefined();
});
