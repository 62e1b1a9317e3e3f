import { ORDER_NAMESPACE, WORKER_ANSWER_DETAILS } from '../core/gateway-names.ts';
import {
  APPEND_ACTION,
  type HeaderMutation,
  type HeaderValueOption,
  type HttpHeaders,
  type ProcessingResponse,
} from '../envoy-protocol/messages.ts';
import { PRIORITY_GROUPS_OVERRIDE_TYPE, type ProcessorProtocol } from '../envoy-protocol/codecs.ts';
import { headerText } from '../envoy-protocol/values.ts';
import type { Answer } from '../pipeline/answer.ts';
import type { ClusterGroup } from '../pipeline/front.ts';

/** Reads headers by lower-case name; a header that came twice is joined as HTTP says. */
export class HeaderView {
  readonly #values = new Map<string, string>();

  constructor(headers: HttpHeaders) {
    for (const header of headers.headers?.headers ?? []) {
      const earlier = this.#values.get(header.key);
      const text = headerText(header);
      this.#values.set(header.key, earlier === undefined ? text : `${earlier}, ${text}`);
    }
  }

  get(name: string): string | undefined {
    return this.#values.get(name);
  }

  toRecord(): Readonly<Record<string, string>> {
    return Object.fromEntries(this.#values);
  }
}

function setHeader(key: string, value: string): HeaderValueOption {
  return {
    header: { key, rawValue: Buffer.from(value, 'utf8') },
    appendAction: APPEND_ACTION.overwriteIfExistsOrAdd,
  };
}

export function headerMutation(
  set: Readonly<Record<string, string>>,
  remove: readonly string[] = [],
): HeaderMutation {
  return {
    setHeaders: Object.entries(set).map(([key, value]) => setHeader(key, value)),
    removeHeaders: remove,
  };
}

/** Ends the request with an answer of ours. */
export function immediateResponse(answer: Answer): ProcessingResponse {
  return {
    immediateResponse: {
      status: { code: answer.status },
      headers: headerMutation(answer.headers),
      body: answer.body,
      details: `${WORKER_ANSWER_DETAILS}${answer.error?.code ?? 'answer'}`,
    },
  };
}

/** The order of clusters, as Envoy's priority_group specifier takes it from typed metadata. */
export function clusterOrder(
  protocol: ProcessorProtocol,
  groups: readonly ClusterGroup[],
): NonNullable<ProcessingResponse['typedDynamicMetadata']> {
  const value = protocol.priorityGroupsOverride.encode({
    priorityGroups: groups.map((group) => ({
      name: String(group.priority),
      clusters: group.clusters.map(({ name, weight }) => ({ clusterName: name, weight: { value: weight } })),
    })),
  });
  return { [ORDER_NAMESPACE]: { type_url: PRIORITY_GROUPS_OVERRIDE_TYPE, value } };
}
