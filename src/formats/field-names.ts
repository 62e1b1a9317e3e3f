import type { FormatName, HubRequest } from './hub.ts';

/** What each format calls a field of the hub, where the name differs from the field's own in snake case. */
const NAMES: Readonly<Record<FormatName, Readonly<Partial<Record<keyof HubRequest, string>>>>> = {
  chat: {
    candidateCount: 'n',
    outputFormat: 'response_format',
    reasoning: 'reasoning_effort',
    maxOutputTokens: 'max_completion_tokens',
  },
  messages: {
    outputFormat: 'output_config.format',
    reasoning: 'thinking',
    stop: 'stop_sequences',
    user: 'metadata.user_id',
    maxOutputTokens: 'max_tokens',
  },
};

/** The name of a hub field in the client's terms, for warnings. */
export function fieldName(format: FormatName, field: keyof HubRequest): string {
  return NAMES[format][field] ?? field.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
