import { z } from 'zod';

/**
 * The parts of a Messages request that a conversion acts on (Claude API reference, "Create a Message"). Loose
 * throughout: unknown members pass, content blocks are read one by one so that an error can name its place.
 */

const contentSchema = z.union([z.string(), z.array(z.looseObject({ type: z.string() }))]);

const messagesMessageSchema = z.looseObject({
  role: z.enum(['user', 'assistant', 'system']),
  content: contentSchema,
});

export const messagesRequestSchema = z.looseObject({
  model: z.string().min(1),
  messages: z.array(messagesMessageSchema),
  system: contentSchema.nullish(),
  max_tokens: z.int().nullish(),
  stream: z.boolean().nullish(),
  stop_sequences: z.array(z.string()).nullish(),
  temperature: z.number().nullish(),
  top_p: z.number().nullish(),
  top_k: z.int().nullish(),
  tools: z.array(z.looseObject({ name: z.string().nullish(), type: z.string().nullish() })).nullish(),
  tool_choice: z
    .looseObject({
      type: z.enum(['auto', 'any', 'tool', 'none']),
      name: z.string().nullish(),
      disable_parallel_tool_use: z.boolean().nullish(),
    })
    .nullish(),
  metadata: z.looseObject({ user_id: z.string().nullish() }).nullish(),
  thinking: z
    .looseObject({
      type: z.string(),
      budget_tokens: z.int().nullish(),
      display: z.string().nullish(),
    })
    .nullish(),
  output_config: z
    .looseObject({ effort: z.string().nullish(), format: z.looseObject({ type: z.string() }).nullish() })
    .nullish(),
  /** The name that `output_config.format` had while it was in beta. */
  output_format: z.looseObject({ type: z.string() }).nullish(),
  service_tier: z.string().nullish(),
});

export type MessagesRequest = z.infer<typeof messagesRequestSchema>;

/** Members that the hub has a field for; all others travel in `extra`. */
export const KNOWN_REQUEST_MEMBERS: ReadonlySet<string> = new Set(Object.keys(messagesRequestSchema.shape));

/** Members whose second occurrence would let a request be approved as one thing and served as another. */
export const GUARDED_MEMBERS: ReadonlySet<string> = new Set([
  ...KNOWN_REQUEST_MEMBERS,
  'mcp_servers',
  'container',
]);
