import { z } from 'zod';
import type { DemoAnswer, DemoRequest } from './answer.ts';
import { DemoError, type Identity, type Wire } from './wire.ts';

const blockSchema = z.looseObject({
  type: z.string(),
  text: z.string().optional(),
  content: z.unknown().optional(),
});
const contentSchema = z.union([z.string(), z.array(blockSchema)]);
const requestSchema = z.looseObject({
  model: z.string().min(1),
  max_tokens: z.number().int().positive(),
  messages: z.array(z.looseObject({ role: z.string(), content: contentSchema })).min(1),
  system: contentSchema.nullish(),
  stream: z.boolean().nullish(),
  stop_sequences: z.array(z.string()).nullish(),
  tools: z
    .array(z.looseObject({ name: z.string(), input_schema: z.record(z.string(), z.unknown()).optional() }))
    .nullish(),
  tool_choice: z
    .looseObject({
      type: z.enum(['auto', 'any', 'tool', 'none']),
      name: z.string().optional(),
      disable_parallel_tool_use: z.boolean().optional(),
    })
    .nullish(),
});

function textOf(content: unknown): string {
  const parsed = contentSchema.safeParse(content);
  if (!parsed.success) return '';
  if (typeof parsed.data === 'string') return parsed.data;
  return parsed.data.map((block) => block.text ?? textOf(block.content)).join(' ');
}

function parse(value: unknown): DemoRequest {
  const parsed = requestSchema.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    const param = issue?.path.join('.') ?? '';
    throw new DemoError(400, `${param}: ${issue?.message ?? 'not allowed'}`, param);
  }
  const { messages, ...request } = parsed.data;
  const blocksOf = (content: z.infer<typeof contentSchema>) => (typeof content === 'string' ? [] : content);
  const results = blocksOf(messages.at(-1)?.content ?? '').filter(({ type }) => type === 'tool_result');
  const choice = request.tool_choice;
  const forced = choice?.type === 'tool' ? choice.name : undefined;
  const named = choice === null || choice === undefined || choice.type === 'tool' ? 'auto' : choice.type;
  return {
    model: request.model,
    stream: request.stream === true,
    includeUsage: true,
    promptText: [textOf(request.system), ...messages.map(({ content }) => textOf(content))].join('\n'),
    lastUserText: textOf(messages.findLast(({ role }) => role === 'user')?.content),
    imageCount: messages.flatMap(({ content }) => blocksOf(content)).filter(({ type }) => type === 'image')
      .length,
    tools: (request.tools ?? []).map((tool) => ({ name: tool.name, parameters: tool.input_schema ?? {} })),
    toolResults: results.map(({ content }) => textOf(content)),
    toolChoice: forced === undefined ? named : { name: forced },
    parallelToolCalls: choice?.disable_parallel_tool_use !== true,
    maxOutputTokens: request.max_tokens,
    stop: request.stop_sequences ?? [],
  };
}

function stopReason(answer: DemoAnswer): string {
  switch (answer.finish) {
    case 'stop':
      return 'end_turn';
    case 'length':
      return 'max_tokens';
    case 'tool_calls':
      return 'tool_use';
    case 'stop_sequence':
      return 'stop_sequence';
  }
}

function messageHead(request: DemoRequest, identity: Identity) {
  return {
    id: `msg_demo_${identity.sequence}`,
    type: 'message',
    role: 'assistant',
    model: request.model,
  };
}

function usageOf(answer: DemoAnswer, output: number): object {
  return {
    input_tokens: answer.usage.input,
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: 0,
    output_tokens: output,
  };
}

function toolBlocks(answer: DemoAnswer, { sequence }: Identity) {
  return answer.toolCalls.map((call, index) => ({
    type: 'tool_use' as const,
    id: `toolu_demo_${sequence}_${index}`,
    name: call.name,
    input: call.arguments,
  }));
}

function whole(answer: DemoAnswer, request: DemoRequest, identity: Identity): string {
  const tools = toolBlocks(answer, identity);
  return JSON.stringify({
    ...messageHead(request, identity),
    content: tools.length > 0 ? tools : [{ type: 'text', text: answer.pieces.join('') }],
    stop_reason: stopReason(answer),
    stop_sequence: answer.stopSequence ?? null,
    usage: usageOf(answer, answer.usage.output),
  });
}

interface StreamEvent {
  readonly type: string;
  readonly [field: string]: unknown;
}

function events(answer: DemoAnswer, request: DemoRequest, identity: Identity): string[] {
  const message = {
    ...messageHead(request, identity),
    content: [],
    stop_reason: null,
    stop_sequence: null,
    usage: usageOf(answer, 1),
  };
  const delta = (index: number, value: object): StreamEvent => ({
    type: 'content_block_delta',
    index,
    delta: value,
  });
  const text: StreamEvent[] =
    answer.toolCalls.length > 0
      ? []
      : [
          { type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } },
          ...answer.pieces.map((piece) => delta(0, { type: 'text_delta', text: piece })),
          { type: 'content_block_stop', index: 0 },
        ];
  const tools = toolBlocks(answer, identity).flatMap(({ input, ...block }, index): StreamEvent[] => [
    { type: 'content_block_start', index, content_block: { ...block, input: {} } },
    delta(index, { type: 'input_json_delta', partial_json: JSON.stringify(input) }),
    { type: 'content_block_stop', index },
  ]);
  const values: StreamEvent[] = [
    { type: 'message_start', message },
    { type: 'ping' },
    ...text,
    ...tools,
    {
      type: 'message_delta',
      delta: { stop_reason: stopReason(answer), stop_sequence: answer.stopSequence ?? null },
      usage: usageOf(answer, answer.usage.output),
    },
    { type: 'message_stop' },
  ];
  return values.map((value) => `event: ${value.type}\ndata: ${JSON.stringify(value)}\n\n`);
}

const ERROR_TYPES: Readonly<Record<number, string>> = {
  404: 'not_found_error',
  413: 'request_too_large',
  500: 'api_error',
};

function error(failure: DemoError, requestId: string): string {
  const type = ERROR_TYPES[failure.status] ?? 'invalid_request_error';
  return JSON.stringify({ type: 'error', error: { type, message: failure.message }, request_id: requestId });
}

/** The Messages API (Claude API reference). */
export const messagesWire: Wire = { parse, whole, events, error };
