import { z } from 'zod';
import { parsedJson } from '../../core/json.ts';

/** Auth0 sends a batch of at most some hundred. */
const MOST_ENTRIES = 2000;

/**
 * A log of the registration of a client (auth0.com/docs/tenant-logs/management-success/sapi; that it is told of under this
 * description, and where it names the client, is what Auth0's own detections go by: auth0-customer-detections).
 */
const registrationSchema = z.object({
  type: z.literal('sapi'),
  description: z.literal('Dynamic client registration'),
  details: z.object({ response: z.object({ body: z.object({ client_id: z.string() }) }) }),
});

/** What Auth0 calls a client; nothing else goes into a path. */
const clientIdSchema = z.string().regex(/^[A-Za-z0-9_-]{1,128}$/);

const recordSchema = z.record(z.string(), z.unknown());

/** What a delivery of a log stream holds. */
export interface DeliveredLog {
  /** Clients that it says have registered themselves, each once. */
  readonly clients: readonly string[];
  /** Registrations whose client's id is none. */
  readonly misnamed: number;
}

/**
 * Reads what a custom webhook is sent (auth0.com/docs/customize/log-streams/custom-log-streams): a JSON array of logs, one
 * log a line, or an object that is one log or has them in `logs`; each as it is, or in `data`.
 *
 * @returns undefined for what is none of these; `too many` beyond what one delivery may hold
 */
export function readDeliveredLog(text: string): DeliveredLog | 'too many' | undefined {
  const entries = entriesOf(text);
  if (entries === undefined) return undefined;
  if (entries.length > MOST_ENTRIES) return 'too many';
  const records = z.array(recordSchema).safeParse(entries);
  if (!records.success) return undefined;
  const named = records.data.flatMap((record) => {
    const log = registrationSchema.safeParse(record['data'] ?? record);
    return log.success ? [log.data.details.response.body.client_id] : [];
  });
  const clients = named.filter((id) => clientIdSchema.safeParse(id).success);
  return { clients: [...new Set(clients)], misnamed: named.length - clients.length };
}

function entriesOf(text: string): readonly unknown[] | undefined {
  const whole = parsedJson(text);
  if (whole === undefined) {
    const lines = text.split('\n').filter((line) => line.trim() !== '');
    // Beyond that, they need not be parsed to be refused.
    if (lines.length === 0 || lines.length > MOST_ENTRIES) return lines.length === 0 ? undefined : lines;
    const entries = lines.map(parsedJson);
    return entries.includes(undefined) ? undefined : entries;
  }
  if (Array.isArray(whole)) return whole;
  const { data } = z.object({ logs: z.array(z.unknown()) }).safeParse(whole);
  return data?.logs ?? [whole];
}
