import { createHash } from 'node:crypto';
import { isIPv4 } from 'node:net';
import ipaddr from 'ipaddr.js';
import type { SnapshotLimit } from '../../core/limits.ts';
import { isAboutProvider, type LimitedRequest } from './rules.ts';

/** Whom one rule counts for a request. */
export interface CountedSubject {
  readonly subject: string;
  /** Names of the SnapshotProviders that the rule is about; absent: all. */
  readonly providers?: readonly string[] | undefined;
}

/** Whom a rule counts; nobody where the request has no such thing. */
export function subjectsOf(rule: SnapshotLimit, request: LimitedRequest): readonly CountedSubject[] {
  if (rule.per === 'provider') return providersOf(rule, request);
  const subject = subjectOf(rule.per, request);
  if (subject === undefined || subject === '') return [];
  const about = request.providers.filter((provider) => isAboutProvider(rule, provider));
  const providers = about.length === request.providers.length ? undefined : about.map(({ name }) => name);
  return [{ subject, providers }];
}

function subjectOf(
  per: Exclude<SnapshotLimit['per'], 'provider'>,
  { principal, ...request }: LimitedRequest,
): string | undefined {
  switch (per) {
    case 'user':
      return principal.user;
    case 'key':
      // All tokens of an issuer share one name in the place of a key's.
      return principal.kind === 'key' ? principal.keyId : undefined;
    case 'team':
      return principal.team;
    case 'tenant':
      return principal.tenant;
    case 'model':
      return request.model;
    case 'backend':
      return request.backend;
    case 'address':
      return request.address;
    case 'workflow':
      return request.workflow && `${withoutSlash(principal.user)}/${withoutSlash(request.workflow)}`;
    case 'everybody':
      return 'everybody';
    case 'mcpServer':
    case 'agent':
      return undefined;
  }
}

function providersOf(rule: SnapshotLimit, request: LimitedRequest): readonly CountedSubject[] {
  const about = request.providers.filter((provider) => isAboutProvider(rule, provider));
  return [...Map.groupBy(about, ({ resource }) => resource)].map(([subject, providers]) => ({
    subject,
    providers: providers.map(({ name }) => name),
  }));
}

/** So that the slash between a user and a workflow cannot be moved. */
function withoutSlash(name: string): string {
  return name.replaceAll('%', '%25').replaceAll('/', '%2F');
}

/** Longer names are hashed in counters: keys of the store stay short. */
const LONGEST_COUNTED_NAME = 200;

/** The subject as a part of a counter's name: itself, or a hash that no subject can be. */
export function counterPart(subject: string): string {
  if (subject.length <= LONGEST_COUNTED_NAME && !subject.startsWith('#')) return subject;
  return `#${digest(subject)}`;
}

/** Longer names of workflows are hashed: they are the client's own making. */
const LONGEST_WORKFLOW = 128;
const TRACE_PARENT = /^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}/;

/** The workflow that a request belongs to, by the first of these headers that it has. */
export function workflowOf(
  header: (name: string) => string | undefined,
  names: readonly string[],
): string | undefined {
  for (const name of names) {
    const value = header(name)?.trim();
    if (value === undefined || value === '') continue;
    if (name !== 'traceparent') return value.length <= LONGEST_WORKFLOW ? value : `#${digest(value)}`;
    const trace = TRACE_PARENT.exec(value)?.[1];
    if (trace !== undefined) return trace;
  }
  return undefined;
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/** Some proxies write the port as well. */
function withoutPort(entry: string): string {
  const match = /^\s*(?:\[(?<bracketed>[^\]]*)\]|(?<plain>[^:\s]*))(?::\d+)?\s*$/.exec(entry);
  return match?.groups?.['bracketed'] ?? match?.groups?.['plain'] ?? entry.trim();
}

/** Bits of an IPv6 address that one client holds at least, and may change the rest of at will (RFC 6177). */
const CLIENT_BITS = 64;

/**
 * The client's address as Envoy has found it: behind `hops` trusted proxies, that many from the end of
 * `x-forwarded-for`, to which Envoy has appended its own peer. Where there are fewer, its peer. An IPv6 client counts
 * by its network of 64 bits. Undefined where there is none that can be read.
 */
export function clientAddress(forwardedFor: string | undefined, hops: number): string | undefined {
  const entries = (forwardedFor ?? '').split(',');
  const text = [entries.at(-1 - hops), entries.at(-1)]
    .map((entry) => entry && withoutPort(entry))
    .find((entry) => entry !== undefined && (isIPv4(entry) || ipaddr.isValid(entry)));
  // The usual case, which needs no parsing: Node takes no other spelling of an IPv4 address.
  if (text === undefined || isIPv4(text)) return text;
  const address = ipaddr.process(text);
  if (address.kind() === 'ipv4') return address.toString();
  return `${ipaddr.IPv6.networkAddressFromCIDR(`${address.toString()}/${CLIENT_BITS}`).toString()}/${CLIENT_BITS}`;
}
