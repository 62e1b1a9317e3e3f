/** What an event is about. */
export const EVENT_KINDS = ['key', 'limit', 'identity', 'user', 'system'] as const;
export type EventKind = (typeof EVENT_KINDS)[number];

export const SEVERITIES = ['info', 'warning', 'critical'] as const;
export type Severity = (typeof SEVERITIES)[number];

/** Something that an operator may want to know of, apart from requests and changes of configuration. */
export interface LimenEvent {
  /** Unix time in milliseconds. */
  readonly time: number;
  readonly kind: EventKind;
  readonly severity: Severity;
  /** What or whom it is about: id of a key, a user, name of a rule or an identity provider. */
  readonly subject: string;
  /** One sentence, without a secret. */
  readonly message: string;
  readonly detail?: Readonly<Record<string, unknown>> | undefined;
  /** An event is recorded once under this name, by whomever and however often. */
  readonly once?: string | undefined;
}

export interface StoredEvent extends LimenEvent {
  /** Grows with each event. */
  readonly id: string;
}

/** Where events go. Rejects where the store is away: then nothing was recorded. */
export interface EventLog {
  /** @returns those that were not recorded before */
  record(events: readonly LimenEvent[]): Promise<readonly StoredEvent[]>;
}

export interface EventQuery {
  readonly limit: number;
  /** Id of the event that the page before ended with. */
  readonly after?: string | undefined;
  readonly kind?: EventKind | undefined;
  readonly subject?: string | undefined;
  /** Unix time in milliseconds: at or after it. */
  readonly from?: number | undefined;
  /** Before it. */
  readonly to?: number | undefined;
}

export interface EventStore extends EventLog {
  /** Newest first. */
  list(query: EventQuery): Promise<StoredEvent[]>;
  /** Removes those before that time; how many there were. */
  purge(before: number): Promise<number>;
}
