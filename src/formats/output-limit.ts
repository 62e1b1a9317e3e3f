import type { ClientFormatName } from './hub.ts';
import { editTopLevel } from './json/edit.ts';
import { asObject } from './json/parse.ts';
import { findMember, readMember, scanTopLevel, type TopLevel } from './json/scan.ts';

/** The members that limit the output, as formats and their dialects name them; the first is added where there is none. */
const LIMIT_MEMBERS: Readonly<Record<Exclude<ClientFormatName, 'gemini'>, readonly [string, ...string[]]>> = {
  chat: ['max_completion_tokens', 'max_tokens'],
  responses: ['max_output_tokens'],
  messages: ['max_tokens'],
};
const CONFIG_MEMBERS = ['generationConfig', 'generation_config'];
const CONFIG_LIMIT_MEMBERS = ['maxOutputTokens', 'max_output_tokens'] as const;

/**
 * The request with no more than so many tokens of output for each candidate, edited in place. Undefined where that
 * cannot be: the Messages API takes no limit that thinking alone may use up.
 *
 * @param chatMember what a chat request must have its limit as: servers of that format disagree about the name;
 *   undefined: any
 */
export function lowerOutputLimit(
  format: ClientFormatName,
  body: Buffer,
  topLevel: TopLevel,
  tokens: number,
  chatMember: string | undefined,
): Buffer | undefined {
  if (format === 'gemini') return lowerGeminiLimit(body, topLevel, tokens);
  if (format === 'messages' && thinkingBudget(body, topLevel) >= tokens) return undefined;
  const [usual] = LIMIT_MEMBERS[format];
  const edited = lower(body, topLevel, tokens, LIMIT_MEMBERS[format], chatMember ?? usual);
  if (format !== 'chat' || chatMember !== OLDER_CHAT_MEMBER || hasLimit(body, topLevel, chatMember))
    return edited;
  // Whoever reads the older name may not know the newer one; OpenAI, which refuses both together, knows that.
  return editTopLevel(edited, scanTopLevel(edited, new Set()), new Map([[chatMember, String(tokens)]]));
}

const OLDER_CHAT_MEMBER = 'max_tokens';

/** Whether a request has a limit of output under this name. */
export function hasLimit(body: Buffer, topLevel: TopLevel, member: string): boolean {
  return (readMember(body, topLevel, member) ?? undefined) !== undefined;
}

function lower(
  body: Buffer,
  topLevel: TopLevel,
  tokens: number,
  members: readonly string[],
  added: string,
): Buffer {
  const limits = members.flatMap((member) => {
    const value = readMember(body, topLevel, member);
    return value === undefined || value === null ? [] : [{ member, value }];
  });
  const edits =
    limits.length === 0
      ? [[added, String(tokens)] as const]
      : limits
          // 0 is no limit to every server.
          .filter(({ value }) => typeof value !== 'number' || value > tokens || value < 1)
          .map(({ member }) => [member, String(tokens)] as const);
  return editTopLevel(body, topLevel, new Map(edits));
}

function lowerGeminiLimit(body: Buffer, topLevel: TopLevel, tokens: number): Buffer {
  const [camel] = CONFIG_LIMIT_MEMBERS;
  const member = CONFIG_MEMBERS.map((name) => findMember(topLevel, name)).find(
    (found) => found !== undefined,
  );
  const text = member && body.subarray(member.valueStart, member.valueEnd);
  const config =
    text === undefined || text.equals(NULL)
      ? `{"${camel}":${String(tokens)}}`
      : lower(text, scanTopLevel(text, new Set()), tokens, CONFIG_LIMIT_MEMBERS, camel).toString('utf8');
  return editTopLevel(body, topLevel, new Map([[member?.key ?? 'generationConfig', config]]));
}

const NULL = Buffer.from('null');

function thinkingBudget(body: Buffer, topLevel: TopLevel): number {
  const budget = asObject(readMember(body, topLevel, 'thinking'))?.['budget_tokens'];
  return typeof budget === 'number' ? budget : 0;
}
