import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { SeenUser } from '../core/access.ts';
import { SIGHTINGS_PER_MESSAGE, type ReportMessage } from './messages.ts';
import { WorkerReports } from './reports.ts';

let sent: ReportMessage[];
let reports: WorkerReports;
const take = (message: ReportMessage): boolean => {
  sent.push(message);
  return true;
};

beforeEach(() => {
  vi.useFakeTimers();
  sent = [];
  reports = new WorkerReports();
});
afterEach(() => {
  reports.close();
  vi.useRealTimers();
});

function user(id: string, changes: Partial<SeenUser> = {}): SeenUser {
  return { id, provider: 'corp', groups: [], seenAt: 0, ...changes };
}

/** Users of all sightings, by id. */
function usersTold(): string[] {
  return sent.flatMap((message) => (message.type === 'sighting' ? message.users.map(({ id }) => id) : []));
}

describe('sightings', () => {
  test('are gathered for 30 seconds, and a key is one however often it was used', () => {
    reports.attach(take);
    for (let at = 0; at < 100; at++) reports.keyUsed('key-1', at);
    vi.advanceTimersByTime(29_000);
    expect(sent).toEqual([]);
    vi.advanceTimersByTime(1000);
    expect(sent).toEqual([{ type: 'sighting', keys: { 'key-1': 99 }, users: [] }]);
  });

  test('are told at once where there are many, and in messages of bounded size', () => {
    reports.attach(take);
    for (let number = 0; number < 2 * SIGHTINGS_PER_MESSAGE; number++) reports.keyUsed(`key-${number}`, 1);
    expect(sent).toHaveLength(2);
    const groups = Array.from({ length: 400 }, (_, number) => `group-${number}`);
    for (let number = 0; number < 50; number++) reports.userSeen(user(`u-${number}`, { groups }));
    reports.flush();
    expect(sent).toHaveLength(5);
    expect(new Set(usersTold()).size).toBe(50);
  });

  test('of a user are told again where a claim differs, or five minutes later', () => {
    reports.attach(take);
    reports.userSeen(user('corp:ada'));
    reports.userSeen(user('corp:ada', { seenAt: 299_999 }));
    reports.flush();
    expect(usersTold()).toEqual(['corp:ada']);
    reports.userSeen(user('corp:ada', { seenAt: 299_999, groups: ['staff'] }));
    reports.flush();
    reports.userSeen(user('corp:ada', { seenAt: 600_000, groups: ['staff'] }));
    reports.flush();
    expect(usersTold()).toHaveLength(3);
  });

  test('are kept and merged, bounded, while nobody takes them', () => {
    for (let number = 0; number < 150_000; number++) reports.keyUsed(`key-${number}`, number);
    for (let number = 0; number < 30_000; number++) reports.userSeen(user(`u-${number}`));
    reports.attach(take);
    vi.advanceTimersByTime(30_000);
    const keys = sent.flatMap((message) => (message.type === 'sighting' ? Object.keys(message.keys) : []));
    expect(new Set(keys).size).toBe(100_000);
    expect(usersTold()).toHaveLength(20_000);
  });

  test('wait while the stream is full', () => {
    reports.attach((message) => {
      sent.push(message);
      return false;
    });
    for (let number = 0; number < 5 * SIGHTINGS_PER_MESSAGE; number++) reports.keyUsed(`key-${number}`, 1);
    expect(sent).toHaveLength(1);
    reports.resume();
    expect(sent).toHaveLength(2);
  });

  test('that the control plane would refuse do not go there', () => {
    reports.attach(take);
    reports.userSeen(user('x'.repeat(2000)));
    reports.flush();
    expect(sent).toEqual([]);
  });
});

describe('requests for signing keys', () => {
  test('go at once, then once a second, with the latest key of each provider', () => {
    reports.attach(take);
    reports.keyMissing('corp', 'a');
    for (let number = 0; number < 10_000; number++) reports.keyMissing('corp', `forged-${number}`);
    reports.keyMissing('other', 'b');
    expect(sent).toEqual([{ type: 'key-request', requests: [{ provider: 'corp', kid: 'a' }] }]);
    vi.advanceTimersByTime(1000);
    expect(sent.slice(1)).toEqual([
      {
        type: 'key-request',
        requests: [
          { provider: 'corp', kid: 'forged-9999' },
          { provider: 'other', kid: 'b' },
        ],
      },
    ]);
  });
});
