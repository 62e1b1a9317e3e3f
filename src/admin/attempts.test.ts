import { beforeEach, describe, expect, it } from 'vitest';
import { Attempts } from './attempts.ts';
import { createAuthentication, type Authentication } from './authentication.ts';

let time: number;
let attempts: Attempts;

beforeEach(() => {
  time = 0;
  attempts = new Attempts({ most: 2, windowMs: 60_000, mostAddresses: 3, now: () => time });
});

function count(address: string, times: number): void {
  for (let done = 0; done < times; done += 1) attempts.count(address);
}

describe('attempts', () => {
  it('are counted by address, until their minute is over', () => {
    count('192.0.2.1', 2);
    time = 15_000;
    expect(attempts.wait('192.0.2.1')).toBe(45);
    expect(attempts.wait('192.0.2.2')).toBe(0);
    time = 60_000;
    expect(attempts.wait('192.0.2.1')).toBe(0);
  });

  it('are one owner’s for a whole IPv6 network, and for an IPv4 address in any writing', () => {
    count('2001:db8::1', 1);
    count('2001:db8:0:0:ffff::2', 1);
    expect(attempts.wait('2001:db8::3')).toBe(60);
    expect(attempts.wait('2001:db8:0:1::1')).toBe(0);
    count('::ffff:192.0.2.1', 2);
    expect(attempts.wait('192.0.2.1')).toBe(60);
  });

  it('of many addresses take no more memory', () => {
    for (const last of [1, 2, 3, 4]) count(`192.0.2.${last}`, 2);
    expect([1, 2, 3, 4].map((last) => attempts.wait(`192.0.2.${last}`))).toEqual([0, 60, 60, 60]);
  });
});

describe('wrong credentials', () => {
  let authentication: Authentication;
  beforeEach(() => {
    authentication = createAuthentication({
      token: 'the admin token',
      snapshot: () => undefined,
      now: () => time,
    });
  });
  const ask = (authorization: string, address: string | undefined) =>
    authentication.authenticate({ method: 'GET', headers: { authorization }, address });

  it('close their own address alone, and never the control plane’s own socket', async () => {
    for (let times = 0; times < 20; times += 1) {
      await expect(ask('Bearer wrong', '192.0.2.1')).rejects.toThrow('missing or wrong');
      await expect(ask('Bearer wrong', undefined)).rejects.toThrow('missing or wrong');
    }
    await expect(ask('Bearer wrong', '192.0.2.1')).rejects.toThrow('try again in 60 seconds');
    await expect(ask('Bearer wrong', undefined)).rejects.toThrow('missing or wrong');
    await expect(ask('Bearer wrong', '192.0.2.2')).rejects.toThrow('missing or wrong');
  });
});
