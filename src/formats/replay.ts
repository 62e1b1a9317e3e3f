import type { HubEvent, HubPart, HubResponse } from './hub.ts';

/** A whole answer as the events of a stream, for clients that asked for one and upstreams that gave none. */
export function responseEvents(response: HubResponse): HubEvent[] {
  const { id, model, created, serviceTier, usage } = response;
  return [
    { kind: 'start', id, model, created, serviceTier, usage },
    ...response.content.flatMap(partEvents),
    { kind: 'finish', finish: response.finish },
    ...(usage === undefined ? [] : [{ kind: 'usage', usage } as const]),
    { kind: 'end' },
  ];
}

function partEvents(part: HubPart): HubEvent[] {
  switch (part.kind) {
    case 'text':
    case 'refusal':
      return [
        { kind: 'block_start', block: { kind: part.kind } },
        ...delta(part.text),
        { kind: 'block_stop' },
      ];
    case 'thinking':
      return [
        { kind: 'block_start', block: { kind: 'thinking' } },
        ...delta(part.text),
        ...(part.signature === undefined ? [] : [{ kind: 'signature', signature: part.signature } as const]),
        { kind: 'block_stop' },
      ];
    case 'tool_call':
      return [
        { kind: 'block_start', block: { kind: 'tool_call', id: part.id, name: part.name } },
        ...delta(part.argumentsJson),
        { kind: 'block_stop' },
      ];
    case 'redacted_thinking':
    case 'opaque':
      return [{ kind: 'block_start', block: part }, { kind: 'block_stop' }];
    default:
      return [];
  }
}

function delta(text: string): HubEvent[] {
  return text === '' ? [] : [{ kind: 'delta', text }];
}
