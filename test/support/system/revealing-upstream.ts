import { z } from 'zod';
import { anthropic, openai, type ScriptedUpstream, startUpstream } from '../upstream/index.ts';

const seenSchema = z.object({ provider: z.string(), credential: z.string(), model: z.string() });

/** How a request looked when it arrived: the first part of its path, its credential, its model. */
export type Seen = z.infer<typeof seenSchema>;

/** An upstream for many providers, `URL/NAME/v1` each, that answers with what it was sent. */
export async function startRevealingUpstream(): Promise<ScriptedUpstream> {
  const upstream = await startUpstream();
  upstream.always(async (exchange) => {
    const { request } = exchange;
    await request.received;
    const messages = request.path.endsWith('/messages');
    const seen: Seen = {
      provider: request.path.split('/')[1] ?? '',
      credential: request.header(messages ? 'x-api-key' : 'authorization')?.replace('Bearer ', '') ?? '',
      model: (messages ? anthropic : openai).read(request).model,
    };
    await (messages ? anthropic : openai).answer({ text: [`<<${JSON.stringify(seen)}>>`] })(exchange);
  });
  return upstream;
}

/** What the upstream saw, out of the answer to a chat request. @throws where it is not there */
export function seenIn(body: string): Seen {
  const { choices } = z
    .object({ choices: z.array(z.object({ message: z.object({ content: z.string() }) })) })
    .parse(JSON.parse(body));
  return seenSchema.parse(JSON.parse(/<<(.*)>>/.exec(choices[0]?.message.content ?? '')?.[1] ?? ''));
}
