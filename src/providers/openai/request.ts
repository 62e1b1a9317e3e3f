import { fieldName } from '../../formats/field-names.ts';
import type { HubReasoning, HubRequest, ReasoningEffort } from '../../formats/hub.ts';
import { effortForBudget } from '../../formats/reasoning.ts';
import { fitUser } from '../../formats/user-id.ts';
import type { WarningList } from '../../formats/warnings.ts';
import type { Operation, PrepareContext } from '../provider.ts';
import { openAiModelTraits } from './models.ts';

/** OpenAI API reference, "Create chat completion", `stop`. */
const MAX_STOP_SEQUENCES = 4;

const EFFORT_ORDER: readonly ReasoningEffort[] = ['none', 'minimal', 'low', 'medium', 'high', 'xhigh', 'max'];

export function openAiRequestPath(basePath: string, operation: Operation): string {
  return `${basePath}${operation === 'generate' ? '/chat/completions' : '/models'}`;
}

/** Leaves out what OpenAI would refuse: sampling for reasoning models, effort for the others, `top_k` always. */
export function prepareOpenAiRequest(request: HubRequest, { warnings }: PrepareContext): HubRequest {
  const traits = openAiModelTraits(request.model);
  return {
    ...request,
    ...prepareSampling(request, traits.reasoning, warnings),
    stop: prepareStop(request, warnings),
    reasoning: prepareReasoning(request, traits.efforts, warnings),
    user: fitUser(request, warnings),
  };
}

function prepareSampling(
  request: HubRequest,
  reasoning: boolean,
  warnings: WarningList,
): Pick<HubRequest, 'temperature' | 'topP' | 'topK'> {
  if (request.topK !== undefined) warnings.dropped('top_k', 'OpenAI has no such parameter.');
  if (!reasoning) return { temperature: request.temperature, topP: request.topP, topK: undefined };
  for (const field of ['temperature', 'topP'] as const) {
    if ((request[field] ?? 1) !== 1) {
      warnings.dropped(fieldName(request.format, field), 'Reasoning models of OpenAI take the default only.');
    }
  }
  return { temperature: undefined, topP: undefined, topK: undefined };
}

function prepareStop(request: HubRequest, warnings: WarningList): readonly string[] | undefined {
  if ((request.stop?.length ?? 0) <= MAX_STOP_SEQUENCES) return request.stop;
  warnings.approximated(
    fieldName(request.format, 'stop'),
    `OpenAI takes ${String(MAX_STOP_SEQUENCES)} stop sequences: the first ones were sent.`,
  );
  return request.stop?.slice(0, MAX_STOP_SEQUENCES);
}

function prepareReasoning(
  request: HubRequest,
  efforts: readonly ReasoningEffort[],
  warnings: WarningList,
): HubReasoning | undefined {
  const { reasoning } = request;
  const asked = askedEffort(reasoning);
  if (asked === undefined) return undefined;
  const field = fieldName(request.format, 'reasoning');
  if (efforts.length === 0) {
    // Without reasoning there is none to forbid.
    if (asked !== 'none') warnings.dropped(field, 'This model has no reasoning effort.');
    return undefined;
  }
  const effort = nearestEffort(asked, efforts);
  if (effort !== asked || reasoning?.budgetTokens !== undefined) {
    warnings.approximated(field, `OpenAI takes an effort: '${effort}' was set.`);
  }
  return { effort };
}

function askedEffort(reasoning: HubReasoning | undefined): ReasoningEffort | undefined {
  if (reasoning?.enabled === false) return 'none';
  if (reasoning?.effort !== undefined) return reasoning.effort;
  return reasoning?.budgetTokens === undefined ? undefined : effortForBudget(reasoning.budgetTokens);
}

/** The next effort that the model has, upwards first for less than it can, downwards for more. */
function nearestEffort(asked: ReasoningEffort, efforts: readonly ReasoningEffort[]): ReasoningEffort {
  const rank = EFFORT_ORDER.indexOf(asked);
  const atLeast = efforts.find((effort) => EFFORT_ORDER.indexOf(effort) >= rank);
  return atLeast ?? efforts.at(-1) ?? asked;
}
