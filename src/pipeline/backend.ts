import { LimenError, toLimenError } from '../core/errors.ts';
import {
  BACKEND_ROUTE,
  BACKENDS_PATH,
  backendCluster,
  CLUSTER_HEADER,
  CREDENTIAL_HEADERS,
} from '../core/gateway-names.ts';
import type { RequestContext } from '../core/ledger.ts';
import type { Principal } from '../core/principal.ts';
import type { Snapshot, SnapshotBackend } from '../core/snapshot.ts';
import { authorize, useOfBackend } from '../stages/authorize.ts';
import { backendAddress, findBackendRoute, foreignCookies, type BackendPath } from '../stages/backend.ts';
import type { RequestHead } from './answer.ts';
import { identityFields } from './identity-headers.ts';
import { endedContext, type DecisionDependencies, type Known } from './forward.ts';
import { admitWithinLimits } from './limits.ts';

/** The request goes on as it comes: nothing but its head is seen here. */
export interface ForwardHead {
  readonly kind: 'forward head';
  readonly route: typeof BACKEND_ROUTE;
  readonly context: RequestContext;
  /** Who asks, where the service wants to know (IDENTITY_HEADERS). */
  readonly identity: Readonly<Record<string, string>> | undefined;
  readonly setHeaders: Readonly<Record<string, string>>;
  readonly removeHeaders: readonly string[];
  /** `x-ratelimit-*`, for the client. */
  readonly rateLimits: Readonly<Record<string, string>> | undefined;
}

/** A request to another service, of somebody who was identified. */
export interface BackendRequest extends BackendPath {
  readonly head: RequestHead;
  /** What the client calls the service. */
  readonly name: string;
  readonly snapshot: Snapshot;
  readonly principal: Principal;
  /** When it came, as `elapsed` tells it. */
  readonly started: number;
}

/** Sets how long Envoy's router waits for the whole answer. */
const TIMEOUT_HEADER = 'x-envoy-upstream-rq-timeout-ms';

/** The checkpoints of a request to another service, in order: authorize, admit, forward. */
export async function decideBackend(
  request: BackendRequest,
  known: Known,
  dependencies: DecisionDependencies,
): Promise<ForwardHead> {
  const { head, snapshot, principal, name } = request;
  const backend = Object.hasOwn(snapshot.backends, name) ? snapshot.backends[name] : undefined;
  if (backend === undefined) {
    known.trace.push(['authorize', 'backends', '', 'refused', 'no Backend has this name']);
    throw new LimenError('not_found', `There is no backend of this name. Ask under ${BACKENDS_PATH}/NAME/.`);
  }
  known.intent = { ...known.intent, modelAsked: `${BACKENDS_PATH}/${backend.name}` };
  authorize(snapshot, principal, useOfBackend(backend.name, backend.access), known.trace);
  authorizeRoute(request, backend, known);
  const ask = { intent: known.intent, providers: [], outputTokens: 0, foundIsAnswer: false };
  await admitWithinLimits(
    { head, snapshot, principal, surface: 'backend', backend: backend.name, ask },
    known,
    dependencies,
  );
  return {
    kind: 'forward head',
    route: BACKEND_ROUTE,
    context: endedContext(known, dependencies.elapsed() - request.started),
    identity: backend.identityHeaders ? identityFields(principal) : undefined,
    rateLimits: known.rateLimits,
    ...headers(request, backend),
  };
}

function authorizeRoute(request: BackendRequest, backend: SnapshotBackend, known: Known): void {
  const route = ruled(backend, known, () => {
    checkMethod(request.head);
    checkUpgrade(request.head, backend);
    return findBackendRoute(backend, request, request.head.method);
  });
  if (route === undefined) return;
  // Never the path itself, which may hold secrets.
  const modelAsked = `${known.intent.modelAsked}${route.pathPrefix}`;
  known.intent = { ...known.intent, modelAsked };
  known.trace.push(['authorize', `Backend/${backend.name}`, modelAsked, 'allowed', 'by its route']);
  if (route.access === undefined) return;
  const asked = useOfBackend(backend.name, route.access);
  const what = `${modelAsked} of the backend "${backend.name}"`;
  authorize(request.snapshot, request.principal, { ...asked, what }, known.trace);
}

/** Decides by the Backend's own rules, and writes a refusal down. */
function ruled<Result>({ name }: SnapshotBackend, known: Known, decide: () => Result): Result {
  try {
    return decide();
  } catch (error) {
    const { message } = toLimenError(error);
    known.trace.push(['authorize', `Backend/${name}`, known.intent.modelAsked, 'refused', message]);
    throw error;
  }
}

/** A server that answers TRACE tells what it was sent (RFC 9110, section 9.3.8), and Envoy sent it the credential. */
function checkMethod({ method }: RequestHead): void {
  if (method !== 'TRACE') return;
  throw new LimenError('not_allowed', 'TRACE is not passed on.', { status: 405 });
}

/** Envoy asks for nothing but WebSockets here: it refuses other upgrades itself. */
function checkUpgrade(head: RequestHead, { name, webSocket }: SnapshotBackend): void {
  if (webSocket || head.header('upgrade') === undefined) return;
  throw new LimenError('not_allowed', `The backend "${name}" takes no WebSockets.`);
}

function headers(
  request: BackendRequest,
  backend: SnapshotBackend,
): Pick<ForwardHead, 'setHeaders' | 'removeHeaders'> {
  const { head, principal } = request;
  const cookie = backend.cookies ? foreignCookies(head.header('cookie') ?? '') : undefined;
  return {
    setHeaders: {
      ':path': backendAddress(backend, request, principal),
      [CLUSTER_HEADER]: backendCluster(backend.name),
      ...(backend.timeoutSeconds === 0
        ? {}
        : { [TIMEOUT_HEADER]: String(Math.ceil(backend.timeoutSeconds * 1000)) }),
      ...(cookie === undefined ? {} : { cookie }),
    },
    removeHeaders: [
      ...CREDENTIAL_HEADERS,
      ...(backend.timeoutSeconds === 0 ? [TIMEOUT_HEADER] : []),
      ...(cookie === undefined ? ['cookie'] : []),
    ],
  };
}
