import { z } from 'zod';

/** POST /webhooks/identity-providers/NAME/logs: of another system's making, so that it is read by who knows that one. */
export const deliveredLogSchema = z
  .string()
  .describe('Logs of the identity provider: a JSON array, one JSON object a line, or an object');

export const deliveryAnswerSchema = z.object({
  registrations: z.number().int().describe('How many registrations of clients it told of'),
});
