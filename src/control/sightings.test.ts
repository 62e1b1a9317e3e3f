import { expect, it, vi } from 'vitest';
import type { SeenUser } from '../core/access.ts';
import type { LimenEvent } from '../core/events.ts';
import { Sightings } from './sightings.ts';

it('writes what was seen, merged, and again where the database was away; news of users once', async () => {
  let away = true;
  const touched: Record<string, number>[] = [];
  const seen: (readonly SeenUser[])[] = [];
  const recorded: LimenEvent[] = [];
  const warn = vi.fn<() => void>();
  const sightings = new Sightings({
    keys: {
      touch: (usedAt) => {
        if (away) return Promise.reject(new Error('away'));
        touched.push({ ...usedAt });
        return Promise.resolve();
      },
    },
    users: {
      see: (users) => {
        seen.push(users);
        return Promise.resolve(
          users.map(({ id, provider, groups, seenAt }) => ({
            id,
            provider,
            claimed: { groups },
            groups: [],
            roles: [],
            disabled: false,
            createdAt: seenAt,
          })),
        );
      },
    },
    events: {
      record: (events) => {
        recorded.push(...events);
        return Promise.resolve([]);
      },
    },
    logger: { warn },
    againMs: 20,
  });
  const user = { id: 'corp:ada', provider: 'corp', groups: ['staff'], seenAt: 5 };
  sightings.take({ keys: { a: 1, b: 2 }, users: [user] });
  await vi.waitFor(() => expect(warn).toHaveBeenCalled(), { timeout: 15_000 });
  // Of two workers, in whatever order: the latest counts.
  sightings.take({ keys: { a: 9 }, users: [{ ...user, seenAt: 4, groups: [] }] });
  sightings.take({ keys: {}, users: [{ ...user, issuedAt: 1, seenAt: 7, groups: ['left'] }] });
  sightings.take({ keys: { a: 3 }, users: [] });
  away = false;
  await vi.waitFor(() => expect(recorded).toHaveLength(1), { timeout: 15_000 });
  await sightings.close();
  expect(touched).toEqual([{ a: 9, b: 2 }]);
  expect(seen).toEqual([[{ ...user, seenAt: 7 }]]);
  expect(recorded[0]).toMatchObject({ kind: 'user', subject: 'corp:ada', once: 'user-created/corp:ada/7' });
});
