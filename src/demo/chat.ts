import { z } from 'zod';
import type { DemoAnswer, DemoRequest } from './answer.ts';
import { DemoError, type Identity, type Wire } from './wire.ts';

const partSchema = z.looseObject({ type: z.string(), text: z.string().optional() });
const contentSchema = z.union([z.string(), z.array(partSchema)]).nullish();
const toolSchema = z.looseObject({
  type: z.string().optional(),
  function: z
    .looseObject({ name: z.string(), parameters: z.record(z.string(), z.unknown()).nullish() })
    .optional(),
});
const requestSchema = z.looseObject({
  model: z.string().min(1),
  messages: z.array(z.looseObject({ role: z.string(), content: contentSchema })).min(1),
  stream: z.boolean().nullish(),
  stream_options: z.looseObject({ include_usage: z.boolean().nullish() }).nullish(),
  tools: z.array(toolSchema).nullish(),
  tool_choice: z
    .union([
      z.enum(['none', 'auto', 'required']),
      z.looseObject({ function: z.looseObject({ name: z.string() }).optional() }),
    ])
    .nullish(),
  parallel_tool_calls: z.boolean().nullish(),
  max_tokens: z.number().int().positive().nullish(),
  max_completion_tokens: z.number().int().positive().nullish(),
  stop: z.union([z.string(), z.array(z.string()).max(4)]).nullish(),
});

function textOf(content: z.infer<typeof contentSchema>): string {
  if (typeof content === 'string') return content;
  return (content ?? []).map((part) => part.text ?? '').join(' ');
}

function parse(value: unknown): DemoRequest {
  const parsed = requestSchema.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    const param = issue?.path.join('.') ?? '';
    throw new DemoError(400, `Invalid value for '${param}': ${issue?.message ?? 'not allowed'}.`, param);
  }
  const { messages, ...request } = parsed.data;
  const lastAssistant = messages.findLastIndex(({ role }) => role === 'assistant');
  const choice = request.tool_choice ?? 'auto';
  const forced = typeof choice === 'object' ? choice.function?.name : undefined;
  const named = typeof choice === 'object' ? 'auto' : choice === 'required' ? 'any' : choice;
  return {
    model: request.model,
    stream: request.stream === true,
    includeUsage: request.stream_options?.include_usage === true,
    promptText: messages.map(({ content }) => textOf(content)).join('\n'),
    lastUserText: textOf(messages.findLast(({ role }) => role === 'user')?.content),
    imageCount: messages
      .flatMap(({ content }) => (typeof content === 'string' ? [] : (content ?? [])))
      .filter(({ type }) => type === 'image_url').length,
    tools: (request.tools ?? []).flatMap((tool) =>
      tool.function ? [{ name: tool.function.name, parameters: tool.function.parameters ?? {} }] : [],
    ),
    toolResults: messages
      .slice(lastAssistant + 1)
      .filter(({ role }) => role === 'tool')
      .map(({ content }) => textOf(content)),
    toolChoice: forced === undefined ? named : { name: forced },
    parallelToolCalls: request.parallel_tool_calls !== false,
    maxOutputTokens: request.max_completion_tokens ?? request.max_tokens ?? undefined,
    stop: typeof request.stop === 'string' ? [request.stop] : (request.stop ?? []),
  };
}

function finishReason(answer: DemoAnswer): string {
  return answer.finish === 'stop_sequence' ? 'stop' : answer.finish;
}

function usageOf({ usage }: DemoAnswer): object {
  return {
    prompt_tokens: usage.input,
    completion_tokens: usage.output,
    total_tokens: usage.input + usage.output,
    prompt_tokens_details: { cached_tokens: 0, audio_tokens: 0 },
    completion_tokens_details: { reasoning_tokens: 0, audio_tokens: 0 },
  };
}

function toolCallsOf(answer: DemoAnswer, { sequence }: Identity) {
  return answer.toolCalls.map((call, index) => ({
    id: `call_demo_${sequence}_${index}`,
    type: 'function' as const,
    function: { name: call.name, arguments: JSON.stringify(call.arguments) },
  }));
}

function whole(answer: DemoAnswer, request: DemoRequest, identity: Identity): string {
  const toolCalls = toolCallsOf(answer, identity);
  return JSON.stringify({
    id: `chatcmpl-demo-${identity.sequence}`,
    object: 'chat.completion',
    created: identity.created,
    model: request.model,
    choices: [
      {
        index: 0,
        message: {
          role: 'assistant',
          content: toolCalls.length > 0 ? null : answer.pieces.join(''),
          refusal: null,
          ...(toolCalls.length > 0 ? { tool_calls: toolCalls } : {}),
        },
        logprobs: null,
        finish_reason: finishReason(answer),
      },
    ],
    usage: usageOf(answer),
  });
}

function events(answer: DemoAnswer, request: DemoRequest, identity: Identity): string[] {
  const head = {
    id: `chatcmpl-demo-${identity.sequence}`,
    object: 'chat.completion.chunk',
    created: identity.created,
    model: request.model,
  };
  const chunk = (delta: object, finish: string | null = null) => ({
    ...head,
    choices: [{ index: 0, delta, logprobs: null, finish_reason: finish }],
    ...(request.includeUsage ? { usage: null } : {}),
  });
  const values = [
    chunk({ role: 'assistant', content: answer.toolCalls.length > 0 ? null : '', refusal: null }),
    ...answer.pieces.map((piece) => chunk({ content: piece })),
    ...toolCallsOf(answer, identity).flatMap(({ function: called, ...call }, index) => [
      chunk({ tool_calls: [{ index, ...call, function: { name: called.name, arguments: '' } }] }),
      chunk({ tool_calls: [{ index, function: { arguments: called.arguments } }] }),
    ]),
    chunk({}, finishReason(answer)),
    ...(request.includeUsage ? [{ ...head, choices: [], usage: usageOf(answer) }] : []),
  ];
  return [...values.map((value) => `data: ${JSON.stringify(value)}\n\n`), 'data: [DONE]\n\n'];
}

function error(failure: DemoError): string {
  const type = failure.status >= 500 ? 'server_error' : 'invalid_request_error';
  return JSON.stringify({
    error: { message: failure.message, type, param: failure.param ?? null, code: null },
  });
}

/** Chat Completions (OpenAI API reference). */
export const chatWire: Wire = { parse, whole, events, error };
