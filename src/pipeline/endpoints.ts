import { BACKEND_ROUTE, BACKENDS_PATH } from '../core/gateway-names.ts';
import type { ClientFormatName } from '../formats/hub.ts';
import type { RequestHead } from './answer.ts';

/** What a client asks for, told by method, path and headers alone. */
export type Endpoint =
  | { readonly kind: 'generate'; readonly format: ClientFormatName }
  /** Vectors of texts, in OpenAI's shape. */
  | { readonly kind: 'embeddings' }
  /** How many tokens a request of Messages would have. */
  | { readonly kind: 'count_tokens' }
  /** All models, or the one that is named. */
  | { readonly kind: 'models'; readonly format: ClientFormatName; readonly name: string | undefined }
  /** Another service, and the path below its name. */
  | { readonly kind: 'backend'; readonly name: string; readonly rest: string }
  /** An answer that was given before. */
  | { readonly kind: 'stored_response' }
  | { readonly kind: 'nothing'; readonly format: ClientFormatName };

const BY_PATH: Readonly<Record<string, Endpoint>> = {
  '/v1/chat/completions': { kind: 'generate', format: 'chat' },
  '/v1/responses': { kind: 'generate', format: 'responses' },
  '/v1/messages': { kind: 'generate', format: 'messages' },
  '/v1/messages/count_tokens': { kind: 'count_tokens' },
  '/v1/embeddings': { kind: 'embeddings' },
};
const MODELS_PATH = /^\/v1(?:beta|alpha)?\/models(?:\/(?<name>.*))?$/;

/** Sent by Google's own clients, which may ask under `/v1` as well. */
const GOOGLE_HEADERS = ['x-goog-api-key', 'x-goog-api-client'] as const;

export function findEndpoint(head: RequestHead, path: string): Endpoint {
  if (Object.hasOwn(BY_PATH, path)) return BY_PATH[path] ?? { kind: 'nothing', format: 'chat' };
  const backend = backendOf(path);
  if (backend !== undefined) return backend;
  if (path.startsWith('/v1/responses/')) return { kind: 'stored_response' };
  const models = MODELS_PATH.exec(path);
  const name = models?.groups?.['name'] ?? '';
  // A name may hold a colon; only Gemini's methods are sent with POST.
  if (models !== null && name !== '' && head.method === 'POST') return { kind: 'generate', format: 'gemini' };
  const format = formatOfAsker(head, path);
  if (models === null) return { kind: 'nothing', format };
  return { kind: 'models', format, name: name === '' ? undefined : decodedName(name) };
}

/** As Envoy's route for them matches: the path itself, and what is below it. */
function backendOf(path: string): Extract<Endpoint, { kind: 'backend' }> | undefined {
  if (path !== BACKENDS_PATH && !path.startsWith(`${BACKENDS_PATH}/`)) return undefined;
  const below = path.slice(BACKENDS_PATH.length + 1);
  const slash = below.indexOf('/');
  return slash === -1
    ? { kind: 'backend', name: below, rest: '' }
    : { kind: 'backend', name: below.slice(0, slash), rest: below.slice(slash) };
}

/** Whose API a client speaks where the path does not tell. */
function formatOfAsker(head: RequestHead, path: string): ClientFormatName {
  if (/^\/v1(?:beta|alpha)\//.test(path)) return 'gemini';
  if (head.header('anthropic-version') !== undefined) return 'messages';
  const isGoogle = GOOGLE_HEADERS.some((name) => head.header(name) !== undefined);
  return isGoogle ? 'gemini' : 'chat';
}

/** A name with an escape that is none is nobody's, as it stands. */
function decodedName(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

/** What an endpoint is called in ledger rows and in the context of a request. */
export function operationName(endpoint: Endpoint): string {
  switch (endpoint.kind) {
    case 'embeddings':
    case 'count_tokens':
      return endpoint.kind;
    case 'backend':
      return BACKEND_ROUTE;
    case 'stored_response':
      return 'responses';
    default:
      return endpoint.format;
  }
}
