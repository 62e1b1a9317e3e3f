import type { EventStore } from '../../core/events.ts';
import { eventListSchema, listEventsSchema } from '../contract.ts';
import { iso, readPage } from '../page.ts';
import { defineRoute, type Route } from '../router.ts';

/** What operators may want to know of. */
export function eventRoutes(events: Pick<EventStore, 'list'>): readonly Route[] {
  return [
    defineRoute({
      method: 'GET',
      path: '/api/v1/events',
      permission: 'events:read',
      summary: 'List events: warnings of keys, alerts of limits, news of identity',
      tag: 'events',
      query: listEventsSchema,
      response: eventListSchema,
      handle: async ({ query: { limit, from, to, ...query } }) => {
        const page = await readPage(limit, (most) =>
          events.list({ ...query, limit: most, from: parsed(from), to: parsed(to) }),
        );
        return {
          events: page.items.map((event) => ({ ...event, time: iso(event.time) })),
          next: page.next,
        };
      },
    }),
  ];
}

function parsed(time: string | undefined): number | undefined {
  return time === undefined ? undefined : Date.parse(time);
}
