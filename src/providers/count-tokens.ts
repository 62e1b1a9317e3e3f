import type { ProviderApi } from './provider.ts';
import { apiFor, type TranslationTarget } from './translate.ts';

/**
 * Where a target counts the tokens of a Messages request itself; undefined where it cannot.
 *
 * Claude API reference, "Count tokens in a Message"; on Vertex AI the model stands in the body and a name of its own
 * in the path (Google Cloud docs, "Count tokens for Claude models").
 */
export function countTokensApi(target: TranslationTarget): ProviderApi | undefined {
  // Nobody's name is asked for here.
  const api = apiFor({ ...target, user: undefined }, 'messages', false, 'sse');
  if (api.format !== 'messages') return undefined;
  if (target.type === 'anthropic') return { ...api, path: `${api.path}/count_tokens` };
  if (target.type !== 'vertex') return undefined;
  const name = target.model.replace(/^.*\/models\//, '');
  return {
    ...api,
    // Nobody converts this answer: an error of Vertex AI's own goes to the client as it is.
    foreignErrors: false,
    path: api.path.replace(/\/models\/[^/]+:rawPredict$/, '/models/count-tokens:rawPredict'),
    edits: new Map([...api.edits, ['model', JSON.stringify(name)]]),
  };
}
