import type { Provider } from '../provider.ts';
import { openaiCompatibleCredential } from './auth.ts';
import { decodeOpenAiCompatibleError } from './error.ts';
import { openAiCompatibleRequestPath, prepareOpenAiCompatibleRequest } from './request.ts';

/** Any server that speaks Chat Completions: vLLM, Ollama, llama.cpp, OpenRouter, Groq, Mistral … */
export const openaiCompatible: Provider = {
  type: 'openai-compatible',
  format: 'chat',
  defaultBaseUrl: undefined,
  credential: openaiCompatibleCredential,
  requestHeaders: {},
  // The older name is the one that all of them know; reasoning models among them want their reasoning back.
  encodeOptions: { maxOutputTokensField: 'max_tokens', reasoningTextField: 'reasoning_content' },
  requestPath: openAiCompatibleRequestPath,
  prepareRequest: prepareOpenAiCompatibleRequest,
  decodeError: decodeOpenAiCompatibleError,
};
