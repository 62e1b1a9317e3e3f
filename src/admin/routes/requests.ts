import { z } from 'zod';
import type { LoggedRequest, RequestLog } from '../../core/ledger.ts';
import { requestViewSchema, type RequestView } from '../contract.ts';
import { AdminError } from '../errors.ts';
import { defineRoute, type Route } from '../router.ts';

/** Envoy's are 36 characters long. */
const LONGEST_ID = 128;

/** Finished requests, one by one: what was decided about each, and why. */
export function requestRoutes(requests: RequestLog | undefined): readonly Route[] {
  if (requests === undefined) return [];
  return [
    defineRoute({
      method: 'GET',
      path: '/api/v1/requests/:id',
      permission: 'requests:read',
      summary: 'A finished request with every decision about it and its failed tries',
      tag: 'requests',
      params: z.object({ id: z.string().min(1).max(LONGEST_ID) }),
      response: requestViewSchema,
      handle: async ({ params }) => viewOf(await read(requests, params.id)),
    }),
  ];
}

async function read(requests: RequestLog, id: string): Promise<LoggedRequest> {
  const found = await requests.read(id).catch(() => {
    throw new AdminError('unavailable', 'The database of requests does not answer. Try again shortly.');
  });
  if (found === undefined) {
    throw new AdminError(
      'not_found',
      'There is no such request. A request is here some seconds after its answer has ended; its id is in the answer’s x-request-id header and looks like 1f0c2b6e-8a52-4d1b-9c7e-3a5d2e9b4f60.',
    );
  }
  return found;
}

function viewOf({ row, failedAttempts }: LoggedRequest): RequestView {
  const { requestId, time, revision: _, trace, overrun = [], charges = [], ...rest } = row;
  return {
    ...rest,
    id: requestId,
    time: new Date(time).toISOString(),
    overrun: [...overrun],
    charges: [...charges],
    trace: trace.map(([checkpoint, rule, subject, outcome, numbers]) => ({
      checkpoint,
      rule,
      subject,
      outcome,
      numbers,
    })),
    failedAttempts: failedAttempts.map(({ requestId: __, time: began, charges: paid = [], ...attempt }) => ({
      ...attempt,
      time: new Date(began).toISOString(),
      charges: [...paid],
    })),
  };
}
