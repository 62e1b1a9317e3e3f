import type { DemoAnswer, DemoRequest } from './answer.ts';

/** A request that the demo provider refuses; `message` is for the client. */
export class DemoError extends Error {
  override readonly name = 'DemoError';
  readonly status: number;
  /** Field at fault, as the client wrote it. */
  readonly param: string | undefined;

  constructor(status: number, message: string, param?: string) {
    super(message);
    this.status = status;
    this.param = param;
  }
}

/** Names of one answer, made up by the server. */
export interface Identity {
  /** Unique within this process. */
  readonly sequence: number;
  /** Unix seconds. */
  readonly created: number;
}

/** One of the two wire formats that the demo provider speaks. */
export interface Wire {
  /** @throws DemoError where the value is no request of this API */
  parse(value: unknown): DemoRequest;
  /** The whole answer as JSON. */
  whole(answer: DemoAnswer, request: DemoRequest, identity: Identity): string;
  /** The answer as server-sent events; the server paces them. */
  events(answer: DemoAnswer, request: DemoRequest, identity: Identity): readonly string[];
  error(error: DemoError, requestId: string): string;
}
