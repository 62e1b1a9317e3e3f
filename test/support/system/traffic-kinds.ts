/** What a request of each kind looks like on the wire, and how to tell that its answer is whole. */
export interface TrafficKind {
  readonly path: '/v1/chat/completions' | '/v1/messages';
  readonly stream: boolean;
  /** How the answer goes back: `native` needs no worker once it has begun, the others need theirs to the end. */
  readonly mode: 'native' | 'strip' | 'processed';
  /** Model of `systemResources`. */
  readonly model: 'chat-model' | 'messages-model';
  /** The client asks for a usage chunk of its own. */
  readonly includeUsage?: true;
}

/** Every way through the gateway: both client formats, plain and streamed, same format and converted. */
export const TRAFFIC_KINDS = {
  'chat whole': { path: '/v1/chat/completions', stream: false, mode: 'native', model: 'chat-model' },
  'chat native stream': {
    path: '/v1/chat/completions',
    stream: true,
    mode: 'native',
    model: 'chat-model',
    includeUsage: true,
  },
  'chat strip stream': { path: '/v1/chat/completions', stream: true, mode: 'strip', model: 'chat-model' },
  'chat converted whole': {
    path: '/v1/chat/completions',
    stream: false,
    mode: 'processed',
    model: 'messages-model',
  },
  'chat converted stream': {
    path: '/v1/chat/completions',
    stream: true,
    mode: 'processed',
    model: 'messages-model',
  },
  'messages whole': { path: '/v1/messages', stream: false, mode: 'native', model: 'messages-model' },
  'messages native stream': { path: '/v1/messages', stream: true, mode: 'native', model: 'messages-model' },
  'messages converted stream': { path: '/v1/messages', stream: true, mode: 'processed', model: 'chat-model' },
} as const satisfies Readonly<Record<string, TrafficKind>>;

export type TrafficKindName = keyof typeof TRAFFIC_KINDS;

export const TRAFFIC_KIND_NAMES: readonly TrafficKindName[] = [
  'chat whole',
  'chat native stream',
  'chat strip stream',
  'chat converted whole',
  'chat converted stream',
  'messages whole',
  'messages native stream',
  'messages converted stream',
];

export function trafficKind(name: TrafficKindName): TrafficKind {
  return TRAFFIC_KINDS[name];
}

/** Text near the end of every whole answer of this kind. */
export function endMarker({ path, stream }: TrafficKind): string {
  if (!stream) return '}';
  return path === '/v1/messages' ? 'message_stop' : 'data: [DONE]';
}

/** Body of a request. `chunks` is what the bench upstream streams; `model` replaces the kind's own. */
export function trafficBody(
  kind: TrafficKind,
  options: { readonly chunks: number; readonly model?: string },
): string {
  return JSON.stringify({
    model: options.model ?? kind.model,
    max_tokens: options.chunks,
    ...(kind.stream ? { stream: true } : {}),
    ...(kind.includeUsage ? { stream_options: { include_usage: true } } : {}),
    messages: [{ role: 'user', content: 'Tell me a little.' }],
  });
}
