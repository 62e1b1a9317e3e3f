import type { HubFinish } from '../hub.ts';
import type { WarningList } from '../warnings.ts';

/** `finish_reason` values that Chat Completions documents. */
type ChatFinishReason = 'stop' | 'length' | 'tool_calls' | 'content_filter';

/** Unknown reasons of compatible servers count as an ordinary stop. */
export function decodeChatFinish(reason: unknown, sawToolCalls: boolean, sawRefusal: boolean): HubFinish {
  switch (reason) {
    case 'length':
      return { reason: 'length' };
    case 'content_filter':
      return { reason: 'refusal' };
    case 'tool_calls':
    case 'function_call':
      return { reason: 'tool_calls' };
    default:
      // Several servers say `stop` after tool calls; OpenAI itself does when a function was forced.
      if (sawToolCalls) return { reason: 'tool_calls' };
      return { reason: sawRefusal ? 'refusal' : 'stop' };
  }
}

export function encodeChatFinish(finish: HubFinish, warnings: WarningList): ChatFinishReason {
  switch (finish.reason) {
    case 'length':
    case 'context_window':
      return 'length';
    case 'tool_calls':
      return 'tool_calls';
    case 'refusal':
      return 'content_filter';
    case 'pause':
      warnings.approximated('stop_reason', "Chat Completions has no paused turn: it ends with 'stop'.");
      return 'stop';
    case 'stop':
    case 'stop_sequence':
      return 'stop';
  }
}
