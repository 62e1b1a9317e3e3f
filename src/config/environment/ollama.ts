import { z } from 'zod';

/** Where Ollama listens unless told otherwise. */
export const OLLAMA_URL = 'http://127.0.0.1:11434';

/** An Ollama on the same machine answers in a few milliseconds; its absence must not delay the start. */
const PROBE_TIMEOUT_MS = 500;

const MOST_MODELS = 200;

const LARGEST_ANSWER_BYTES = 4 * 1024 * 1024;

export interface Ollama {
  /** Without a trailing slash: `http://127.0.0.1:11434`. */
  readonly url: string;
  /** Names of the models that are pulled, as Ollama lists them: `llama3.2:latest`. */
  readonly models: readonly string[];
}

const tagsSchema = z.object({ models: z.array(z.object({ name: z.string().min(1) })) });

/**
 * Asks whether an Ollama answers, and for its models (GET /api/tags). Anything but a proper answer in time
 * means that there is none.
 */
export async function probeOllama(
  options: { readonly url?: string; readonly timeoutMs?: number } = {},
): Promise<Ollama | undefined> {
  const url = (options.url ?? OLLAMA_URL).replace(/\/+$/, '');
  try {
    const answer = await fetch(`${url}/api/tags`, {
      signal: AbortSignal.timeout(options.timeoutMs ?? PROBE_TIMEOUT_MS),
      redirect: 'error',
    });
    if (!answer.ok || Number(answer.headers.get('content-length') ?? 0) > LARGEST_ANSWER_BYTES)
      return undefined;
    const tags = tagsSchema.safeParse(await answer.json());
    if (!tags.success) return undefined;
    return { url, models: tags.data.models.slice(0, MOST_MODELS).map(({ name }) => name) };
  } catch {
    return undefined;
  }
}
