import type { Provider } from '../provider.ts';
import { anthropicCredential } from './auth.ts';
import { decodeAnthropicError } from './error.ts';
import { ANTHROPIC_VERSION, anthropicRequestPath, prepareAnthropicRequest } from './request.ts';

/** api.anthropic.com, or any server that speaks Messages. */
export const anthropic: Provider = {
  type: 'anthropic',
  format: 'messages',
  defaultBaseUrl: 'https://api.anthropic.com',
  credential: anthropicCredential,
  requestHeaders: { 'anthropic-version': ANTHROPIC_VERSION },
  encodeOptions: {},
  requestPath: anthropicRequestPath,
  prepareRequest: prepareAnthropicRequest,
  decodeError: decodeAnthropicError,
};
