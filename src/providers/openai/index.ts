import type { Provider } from '../provider.ts';
import { openaiCredential } from './auth.ts';
import { decodeOpenAiError } from './error.ts';
import { openAiRequestPath, prepareOpenAiRequest } from './request.ts';

/** api.openai.com. */
export const openai: Provider = {
  type: 'openai',
  format: 'chat',
  defaultBaseUrl: 'https://api.openai.com/v1',
  credential: openaiCredential,
  requestHeaders: {},
  // `max_tokens` is deprecated there, and reasoning models refuse it.
  encodeOptions: { maxOutputTokensField: 'max_completion_tokens' },
  requestPath: openAiRequestPath,
  prepareRequest: prepareOpenAiRequest,
  decodeError: decodeOpenAiError,
};
