import type { IncomingHttpHeaders } from 'node:http';
import type { z } from 'zod';
import type { Permission } from '../core/access.ts';
import type { Asking } from './authentication.ts';
import { parseInput, singly, type BodyType } from './body.ts';
import type { Caller } from './caller.ts';
import { AdminError } from './errors.ts';

/**
 * What a caller needs: nothing at all, any good credential, a permission, or any one of several. There is no default: a
 * route that says nothing does not compile.
 */
export type Access = 'public' | 'authenticated' | Permission | readonly [Permission, ...Permission[]];

type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

/** The same with every member read-only, however deep: what a handler may give for a schema. */
type Given<T> = T extends readonly (infer Item)[]
  ? readonly Given<Item>[]
  : T extends object
    ? { readonly [Name in keyof T]: Given<T[Name]> }
    : T;

/** What a handler is given; each part as the schema of its route made it. */
export interface Call<Params, Query, Body> {
  readonly params: Params;
  readonly query: Query;
  readonly body: Body;
  readonly caller: Caller;
  readonly headers: IncomingHttpHeaders;
  readonly asking: Asking;
}

/** A route as it is written; `defineRoute` makes it one that the server can call. */
export interface RouteDefinition<
  Params extends z.ZodType,
  Query extends z.ZodType,
  Body extends z.ZodType,
  Response extends z.ZodType,
> {
  readonly method: Method;
  /** Segments; `:name` takes one, `*name` all that follow, slashes among them. */
  readonly path: string;
  readonly permission: Access;
  /** One line, for the OpenAPI document: what it does. */
  readonly summary: string;
  /** What goes under one heading in the OpenAPI document: `keys`. */
  readonly tag: string;
  /** Of the path's parameters; needed where the path has any. */
  readonly params?: Params;
  /** A strict object, so that a misspelt parameter is told; absent: the query is not looked at. */
  readonly query?: Query;
  readonly body?: Body;
  /** Asked before anything of the body is read. @throws AdminError */
  readonly admit?: (call: Pick<Call<z.output<Params>, unknown, unknown>, 'params' | 'asking'>) => void;
  /** `form` is application/x-www-form-urlencoded, as OAuth has it; `text` is of any type, and unread. */
  readonly bodyType?: BodyType;
  /** Bytes; LARGEST_BODY_BYTES where nothing is said. */
  readonly largestBody?: number;
  /** What the body of a success is; what it does not name is left out of the answer. */
  readonly response: Response;
  /** 200 where nothing is said. */
  readonly status?: number;
  /** Statuses of a Reply beyond `status`, with what they mean. */
  readonly otherStatuses?: Readonly<Record<number, string>>;
  /** How an error of this route looks; as everywhere in this API where nothing is said. */
  readonly errorReply?: (error: AdminError) => Reply;
  /** What such an error is. */
  readonly errorSchema?: z.ZodType;
  readonly handle: (
    call: Call<z.output<Params>, z.output<Query>, z.output<Body>>,
  ) => Promise<Given<z.input<Response>> | Reply> | Given<z.input<Response>> | Reply;
}

/** An answer that is more than a body of the response schema. */
export class Reply {
  readonly status: number;
  /** JSON, unless `text` is there. */
  readonly body: unknown;
  readonly text: string | undefined;
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    status: number,
    body: unknown,
    options: { readonly text?: string; readonly headers?: Readonly<Record<string, string>> } = {},
  ) {
    this.status = status;
    this.body = body;
    this.text = options.text;
    this.headers = options.headers ?? {};
  }
}

/** What the server hands a route: nothing of it is checked yet. */
export interface RawCall {
  readonly params: Readonly<Record<string, string>>;
  readonly query: URLSearchParams;
  readonly readBody: (type: BodyType, largestBytes?: number) => Promise<unknown>;
  readonly caller: Caller;
  readonly asking: Asking;
}

/** A route as the server and the OpenAPI document see it. */
export interface Route {
  readonly method: Method;
  readonly path: string;
  readonly permission: Access;
  readonly summary: string;
  readonly tag: string;
  readonly params: z.ZodType | undefined;
  readonly query: z.ZodType | undefined;
  readonly body: z.ZodType | undefined;
  readonly bodyType: BodyType;
  readonly response: z.ZodType;
  readonly status: number;
  readonly otherStatuses: Readonly<Record<number, string>>;
  readonly errorReply: ((error: AdminError) => Reply) | undefined;
  readonly errorSchema: z.ZodType | undefined;
  /** @throws AdminError */
  readonly answer: (call: RawCall) => Promise<Reply>;
}

/** Makes a route of its definition: input is checked before the handler sees it, output cut to its schema. */
export function defineRoute<
  Response extends z.ZodType,
  Params extends z.ZodType = z.ZodUndefined,
  Query extends z.ZodType = z.ZodUndefined,
  Body extends z.ZodType = z.ZodUndefined,
>(definition: RouteDefinition<Params, Query, Body, Response>): Route;
export function defineRoute(definition: RouteDefinition<z.ZodType, z.ZodType, z.ZodType, z.ZodType>): Route {
  const { params, query, body, response, handle, admit } = definition;
  const status = definition.status ?? 200;
  const bodyType = definition.bodyType ?? 'json';
  const admitted = (call: RawCall): unknown => {
    const parsed = params && parseInput(params, call.params);
    admit?.({ params: parsed, asking: call.asking });
    return parsed;
  };
  return {
    method: definition.method,
    path: definition.path,
    permission: definition.permission,
    summary: definition.summary,
    tag: definition.tag,
    params,
    query,
    body,
    bodyType,
    response,
    status,
    otherStatuses: definition.otherStatuses ?? {},
    errorReply: definition.errorReply,
    errorSchema: definition.errorSchema,
    answer: async (call) => {
      const given: unknown = await handle({
        params: admitted(call),
        query: query && parseInput(query, singly(call.query, 'query')),
        body: body && parseInput(body, await call.readBody(bodyType, definition.largestBody)),
        caller: call.caller,
        headers: call.asking.headers,
        asking: call.asking,
      });
      return given instanceof Reply ? given : new Reply(status, response.parse(given));
    },
  };
}

export interface Match {
  readonly route: Route;
  readonly params: Readonly<Record<string, string>>;
}

/** Most specific first: a literal segment before `:name`, that before `*name`. */
export function bySpecificity(routes: readonly Route[]): readonly Route[] {
  const rank = (part: string | undefined) =>
    part === undefined ? 3 : part.startsWith('*') ? 2 : part.startsWith(':') ? 1 : 0;
  return [...routes].sort((left, right) => {
    const [ours, theirs] = [left.path.split('/'), right.path.split('/')];
    for (let index = 0; index < Math.max(ours.length, theirs.length); index += 1) {
      const difference = rank(ours[index]) - rank(theirs[index]);
      if (difference !== 0) return difference;
    }
    return 0;
  });
}

/**
 * Finds the route of a request.
 *
 * @param routes most specific first
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
  const allowedMethods = [...new Set(matches.map(({ route }) => route.method))];
  throw new AdminError(
    'method_not_allowed',
    `${method} is not possible here; allowed: ${allowedMethods.join(', ')}.`,
    { allowedMethods },
  );
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
