import { describe, expect, it } from 'vitest';
import { registrationLog } from '../../../test/support/auth0.ts';
import { readDeliveredLog } from './auth0-logs.ts';

const LOGIN = { log_id: '1', data: { type: 's', description: 'Successful login', client_id: 'other' } };
const NOTHING = { clients: [], misnamed: 0 };

describe('a delivered log', () => {
  it.each([
    ['an array', JSON.stringify([LOGIN, registrationLog('one'), registrationLog('two')])],
    [
      'lines',
      [LOGIN, registrationLog('one'), registrationLog('two')].map((log) => JSON.stringify(log)).join('\r\n'),
    ],
    [
      'lines that end',
      `${JSON.stringify(registrationLog('one'))}\n${JSON.stringify(registrationLog('two'))}\n`,
    ],
    ['an object', JSON.stringify({ logs: [registrationLog('one'), LOGIN, registrationLog('two')] })],
  ])('may be %s', (_, text) => {
    expect(readDeliveredLog(text)).toEqual({ clients: ['one', 'two'], misnamed: 0 });
  });

  it('may be one log, with or without its envelope', () => {
    const log = registrationLog('one');
    expect(readDeliveredLog(JSON.stringify(log))).toEqual({ clients: ['one'], misnamed: 0 });
    expect(readDeliveredLog(JSON.stringify('data' in log ? log.data : undefined))).toEqual({
      clients: ['one'],
      misnamed: 0,
    });
    expect(readDeliveredLog('[]')).toEqual(NOTHING);
  });

  it('names a client once', () => {
    const text = JSON.stringify([registrationLog('one'), registrationLog('one')]);
    expect(readDeliveredLog(text)).toEqual({ clients: ['one'], misnamed: 0 });
  });

  it.each([
    '../connections',
    'a/b',
    'a?fields=client_secret',
    'a%2fb',
    'a b',
    'é',
    '',
    'a\n',
    'a'.repeat(129),
  ])('names no client by %j', (id) => {
    expect(readDeliveredLog(JSON.stringify([registrationLog(id)]))).toEqual({ clients: [], misnamed: 1 });
  });

  it.each([
    { type: 'fapi' },
    { description: 'Create a client' },
    { details: { request: { body: { client_id: 'one' } } } },
    { details: null },
  ])('tells of no registration where it has %j', (other) => {
    const log = { data: { ...data(registrationLog('one')), ...other } };
    expect(readDeliveredLog(JSON.stringify([log]))).toEqual(NOTHING);
  });

  it.each(['', ' ', 'null', '7', '"text"', '[1]', '[[]]', '{', 'a\nb', '{}\nx', '[{}', '{}{}'])(
    'is not %j',
    (text) => {
      expect(readDeliveredLog(text)).toBeUndefined();
    },
  );

  it('holds a bounded number of logs', () => {
    const array = (count: number) => JSON.stringify(Array.from({ length: count }, () => ({})));
    expect(readDeliveredLog(array(2000))).toEqual(NOTHING);
    expect(readDeliveredLog(array(2001))).toBe('too many');
    expect(readDeliveredLog('{}\n'.repeat(2000))).toEqual(NOTHING);
    expect(readDeliveredLog('{}\n'.repeat(2001))).toBe('too many');
  });

  it('is not read deeper than a log goes', () => {
    expect(readDeliveredLog(`{"data":${'['.repeat(200_000)}${']'.repeat(200_000)}}`)).toEqual(NOTHING);
  });
});

function data(log: object): object {
  return 'data' in log && typeof log.data === 'object' && log.data !== null ? log.data : {};
}
