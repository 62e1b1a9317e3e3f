import type { IncomingMessage } from 'node:http';
import { AdminError } from './errors.ts';

export interface AdminRequest {
  /** Parameters of the route's path, decoded. */
  readonly params: Readonly<Record<string, string>>;
  readonly query: URLSearchParams;
  /** Who asks, for the record of changes. */
  readonly actor: string;
  /** The JSON body; anything. */
  readonly json: () => Promise<unknown>;
  readonly headers: IncomingMessage['headers'];
}

export interface AdminResponse {
  readonly status: number;
  readonly body: unknown;
  /** Sent as it is instead of JSON. */
  readonly html?: string;
  /** The same, as Prometheus text. */
  readonly metrics?: string;
}

export interface Route {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** Segments; `:name` takes one, `*name` all that follow, slashes among them. */
  readonly path: string;
  /** Whether it answers without the admin token. */
  readonly isPublic?: boolean;
  readonly handle: (request: AdminRequest) => Promise<AdminResponse> | AdminResponse;
}

export interface Match {
  readonly route: Route;
  readonly params: Readonly<Record<string, string>>;
}

/**
 * Finds the route of a request.
 *
 * @throws AdminError not_found, method_not_allowed, or invalid_request for a path that cannot be decoded
 */
export function findRoute(routes: readonly Route[], method: string, path: string): Match {
  const segments = path.split('/').filter((segment) => segment !== '');
  const matches = routes.flatMap((route) => {
    const params = matchPath(route.path, segments);
    return params ? [{ route, params }] : [];
  });
  // HEAD is a GET whose body is not sent; Node leaves it out by itself.
  const wanted = method === 'HEAD' ? 'GET' : method;
  const match = matches.find(({ route }) => route.method === wanted);
  if (match) return match;
  if (matches.length === 0) throw new AdminError('not_found', 'There is nothing at this path.');
  const allowed = matches.map(({ route }) => route.method).join(', ');
  throw new AdminError('method_not_allowed', `${method} is not possible here; allowed: ${allowed}.`);
}

function matchPath(pattern: string, segments: readonly string[]): Record<string, string> | undefined {
  const parts = pattern.split('/').filter((part) => part !== '');
  const params: Record<string, string> = {};
  for (const [index, part] of parts.entries()) {
    const segment = segments[index];
    if (segment === undefined) return undefined;
    if (part.startsWith('*')) {
      params[part.slice(1)] = segments.slice(index).map(decoded).join('/');
      return params;
    }
    if (part.startsWith(':')) params[part.slice(1)] = decoded(segment);
    else if (part !== segment) return undefined;
  }
  return segments.length === parts.length ? params : undefined;
}

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    throw new AdminError('invalid_request', 'The path has an escape that is not valid.');
  }
}
