import { claudeModelTraits } from './vendors/claude-models.ts';
import { openAiModelTraits } from './vendors/openai-models.ts';

/** Of every Gemini model that writes text (Gemini API docs, "Models": output token limit). */
const GEMINI_MOST = 65_536;

/**
 * The most tokens that a model of a vendor writes in one answer, by its documents; undefined where nobody can tell. A
 * name says nothing of a deployment at Azure or of a server of one's own.
 *
 * @param type kind of provider
 * @param model name that the provider knows
 */
export function largestOutputOf(type: string, model: string): number | undefined {
  switch (type) {
    case 'openai':
      return openAiModelTraits(model).mostOutputTokens;
    case 'anthropic':
      return claudeModelTraits(model).mostOutputTokens;
    case 'gemini':
      return model.startsWith('gemini-') ? GEMINI_MOST : undefined;
    case 'bedrock':
      return model.includes('claude') ? claudeModelTraits(model).mostOutputTokens : undefined;
    case 'vertex':
      if (model.startsWith('gemini-')) return GEMINI_MOST;
      return model.includes('claude') ? claudeModelTraits(model).mostOutputTokens : undefined;
    default:
      return undefined;
  }
}
