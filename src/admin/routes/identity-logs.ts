import { z } from 'zod';
import { Attempts } from '../attempts.ts';
import type { Asking } from '../authentication.ts';
import { deliveredLogSchema, deliveryAnswerSchema } from '../contract.ts';
import { AdminError } from '../errors.ts';
import { defineRoute, Reply, type Route } from '../router.ts';

export interface IdentityLogRoutesOptions {
  /** What is told of identity providers' logs. */
  readonly logs: {
    isSecret(provider: string, given: readonly string[]): boolean;
    take(
      provider: string,
      text: string,
    ): 'unreadable' | 'too many' | 'no room' | { readonly registrations: number };
  };
  /** Unix time in milliseconds. */
  readonly now: () => number;
}

const LARGEST_DELIVERY_BYTES = 1024 * 1024;
const RETRY_SECONDS = 60;
/** Wrong secrets of one address. */
const FAILURES = { most: 60, windowMs: 60_000, mostAddresses: 10_000 } as const;

/** The webhook for logs of identity providers, as it stands on the gateway's own port. */
export function identityLogRoutes({ logs, now }: IdentityLogRoutesOptions): readonly Route[] {
  const failures = new Attempts({ ...FAILURES, now });
  return [
    defineRoute({
      method: 'POST',
      path: '/webhooks/identity-providers/:name/logs',
      // Its own secret lets in, before anything else is looked at.
      permission: 'public',
      summary: 'Take the log of an identity provider, and promote clients that registered themselves there',
      tag: 'identity-providers',
      params: z.object({ name: z.string().describe('Of the IdentityProvider') }),
      admit: ({ params, asking }) => {
        if (logs.isSecret(params.name, secretsOf(asking))) return;
        const address = asking.address ?? 'local';
        const wait = failures.wait(address);
        failures.count(address);
        if (wait === 0)
          throw new AdminError('unauthorized', 'The secret of this webhook is missing or wrong.');
        throw new AdminError('too_many_requests', `Too many wrong secrets: wait ${wait} seconds.`, {
          retryAfterSeconds: wait,
        });
      },
      body: deliveredLogSchema,
      bodyType: 'text',
      largestBody: LARGEST_DELIVERY_BYTES,
      response: deliveryAnswerSchema,
      status: 202,
      handle: ({ params, body }) => {
        const delivery = logs.take(params.name, body);
        if (typeof delivery === 'object') return new Reply(202, delivery);
        switch (delivery) {
          case 'unreadable':
            throw new AdminError(
              'invalid_request',
              'The body is no JSON array, JSON lines or JSON object of logs.',
            );
          case 'too many':
            throw new AdminError('too_large', 'The body holds too many logs.');
          case 'no room':
            throw new AdminError('unavailable', 'Too many clients wait already; send it again later.', {
              retryAfterSeconds: RETRY_SECONDS,
            });
        }
      },
    }),
  ];
}

/** Auth0 sends what it was told as authorization, as it stands; others may have a header of their own. */
function secretsOf({ headers }: Asking): readonly string[] {
  const { authorization, 'x-webhook-secret': own } = headers;
  const bearer = /^bearer +(.+)$/i.exec(authorization ?? '')?.[1];
  return [authorization, bearer, own].filter((one) => typeof one === 'string' && one !== '').map(String);
}
