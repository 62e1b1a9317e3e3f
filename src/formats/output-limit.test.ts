import { describe, expect, it } from 'vitest';
import type { ClientFormatName } from './hub.ts';
import { scanTopLevel } from './json/scan.ts';
import { lowerOutputLimit } from './output-limit.ts';

function lowered(
  format: ClientFormatName,
  text: string,
  tokens = 50,
  chatMember?: string,
): string | undefined {
  const body = Buffer.from(text);
  return lowerOutputLimit(format, body, scanTopLevel(body, new Set()), tokens, chatMember)?.toString();
}

describe('lowerOutputLimit', () => {
  it.each<[ClientFormatName, string, string]>([
    [
      'chat',
      '{ "max_tokens": 99, "seed": 9007199254740993 }',
      '{ "max_tokens": 50, "seed": 9007199254740993 }',
    ],
    ['chat', '{"max_completion_tokens":99,"max_tokens":60}', '{"max_completion_tokens":50,"max_tokens":50}'],
    ['chat', '{"max_completion_tokens":9}', '{"max_completion_tokens":9}'],
    ['chat', '{"max_tokens":null}', '{"max_tokens":null,"max_completion_tokens":50}'],
    ['chat', '{"max_tokens":0}', '{"max_tokens":50}'],
    ['chat', '{}', '{"max_completion_tokens":50}'],
    ['responses', '{"input":"hi"}', '{"input":"hi","max_output_tokens":50}'],
    ['responses', '{"max_output_tokens":1e3}', '{"max_output_tokens":50}'],
    ['messages', '{"max_tokens":1024,"messages":[]}', '{"max_tokens":50,"messages":[]}'],
    ['gemini', '{"contents":[]}', '{"contents":[],"generationConfig":{"maxOutputTokens":50}}'],
    ['gemini', '{"generationConfig":null}', '{"generationConfig":{"maxOutputTokens":50}}'],
    [
      'gemini',
      '{"generationConfig":{ "responseSchema": {"2":1,"1":2}, "maxOutputTokens": 99 }}',
      '{"generationConfig":{ "responseSchema": {"2":1,"1":2}, "maxOutputTokens": 50 }}',
    ],
    [
      'gemini',
      '{"generation_config":{"max_output_tokens":99,"seed":1}}',
      '{"generation_config":{"max_output_tokens":50,"seed":1}}',
    ],
    ['gemini', '{"generation_config":{"seed":1}}', '{"generation_config":{"seed":1,"maxOutputTokens":50}}'],
  ])('%s %s becomes %s', (format, before, after) => {
    expect(lowered(format, before)).toBe(after);
  });

  it('names the limit as the server wants it', () => {
    expect(lowered('chat', '{}', 50, 'max_tokens')).toBe('{"max_tokens":50}');
    // A server that reads the older name alone would not be bound by the newer one.
    expect(lowered('chat', '{"max_completion_tokens":9}', 9, 'max_tokens')).toBe(
      '{"max_completion_tokens":9,"max_tokens":9}',
    );
    expect(lowered('chat', '{"max_tokens":99}', 50, 'max_completion_tokens')).toBe('{"max_tokens":50}');
  });

  it('cannot leave less than the thinking that a Messages request asks for', () => {
    const request = '{"max_tokens":9000,"thinking":{"type":"enabled","budget_tokens":4096}}';
    expect(lowered('messages', request, 4096)).toBeUndefined();
    expect(lowered('messages', request, 4097)).toContain('"max_tokens":4097');
  });
});
