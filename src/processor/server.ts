import { chmodSync, rmSync } from 'node:fs';
import { LEG_METADATA, PATIENCE_METADATA, WATCH_METADATA } from '../core/gateway-names.ts';
import type { KeptAnswers, RequestContext } from '../core/ledger.ts';
import {
  ACCESS_LOG_PATH,
  EXTERNAL_PROCESSOR_PATH,
  type ProcessorProtocol,
} from '../envoy-protocol/codecs.ts';
import type { StreamAccessLogsMessage } from '../envoy-protocol/access-log-messages.ts';
import type { ReasoningCarrier } from '../formats/reasoning.ts';
import type { Answer } from '../pipeline/answer.ts';
import type { FrontPipeline } from '../pipeline/front.ts';
import { Exchange, type LegHandler } from './exchange.ts';
import { BytesInFlight, FrontLeg } from './front-leg.ts';
import { GrpcServer, type GrpcCall } from './grpc-server.ts';
import { ResponseLeg } from './response-leg.ts';
import { UpstreamLeg } from './upstream-leg.ts';

const HEALTH_PATH = '/grpc.health.v1.Health/Check';
/** grpc.health.v1.HealthCheckResponse, status SERVING and NOT_SERVING. */
const SERVING = Buffer.from([0x08, 1]);
const NOT_SERVING = Buffer.from([0x08, 2]);
const MESSAGE_MARGIN_BYTES = 1_048_576;
/** Two health checks of a second each: by then Envoy knows that this worker drains, or is gone itself. */
const NOTICE_MS = 2500;

export interface ProcessorServerOptions {
  readonly protocol: ProcessorProtocol;
  readonly front: FrontPipeline;
  /** Largest request body in bytes: the largest message is a little more. */
  readonly maxMessageBytes: number;
  /** Seals and opens reasoning for the holder of a virtual key; undefined where this worker has no key for it. */
  readonly reasoningCarrierFor: (owner: string) => ReasoningCarrier | undefined;
  readonly keptAnswers: KeptAnswers;
  /** Told of an answer that is not kept for its size. */
  readonly onTooLarge: () => void;
  /** Whether this worker can decide on requests; Envoy sends it none while it can't. */
  readonly serving: () => boolean;
  readonly onAccessLog: (message: StreamAccessLogsMessage) => void;
  readonly onAnswer: (answer: Answer) => void;
  /** Told of each request that was admitted and whose client left before it was decided on: no access log will. */
  readonly onAbandoned: (context: RequestContext) => void;
  readonly onFault: (leg: string, error: unknown) => void;
}

/** The gRPC server of a worker: ext_proc for all three legs, access log, health. */
export class ProcessorServer {
  readonly #options: ProcessorServerOptions;
  readonly #server: GrpcServer;
  readonly bytesInFlight = new BytesInFlight();
  #draining = false;
  #lastHealthCheck = Number.NEGATIVE_INFINITY;
  #open = 0;

  constructor(options: ProcessorServerOptions) {
    this.#options = options;
    this.#server = new GrpcServer({
      maxMessageBytes: options.maxMessageBytes + MESSAGE_MARGIN_BYTES,
      methods: {
        [EXTERNAL_PROCESSOR_PATH]: (call) => this.#process(call),
        [ACCESS_LOG_PATH]: (call) => this.#accessLog(call),
        [HEALTH_PATH]: (call) => this.#health(call),
      },
    });
  }

  /** Exchanges that are open at the moment. */
  get open(): number {
    return this.#open;
  }

  /** Listens on a Unix socket that only this user can open. A socket left behind by a killed worker is replaced. */
  async listen(socketPath: string): Promise<void> {
    rmSync(socketPath, { force: true });
    await this.#server.listen(socketPath);
    chmodSync(socketPath, 0o600);
  }

  /**
   * Stops taking requests (Envoy sees it by the health check) and waits until what is open has ended, at most
   * `drainMs` milliseconds.
   */
  async drain(drainMs: number): Promise<void> {
    this.#draining = true;
    const deadline = performance.now() + drainMs;
    const envoyIsThere = performance.now() - this.#lastHealthCheck < NOTICE_MS;
    const noticed = envoyIsThere ? performance.now() + NOTICE_MS : 0;
    while (performance.now() < deadline && (this.#open > 0 || performance.now() < noticed)) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    this.#server.close();
  }

  #process(call: GrpcCall): void {
    const { onFault, protocol } = this.#options;
    const leg = call.metadata(LEG_METADATA);
    const exchange = new Exchange(call, protocol);
    this.#open += 1;
    const handler = this.#handler(leg, call, exchange);
    exchange.run(
      {
        onMessage: (message) => handler.onMessage(message),
        onOver: () => {
          this.#open -= 1;
          handler.onOver();
        },
      },
      (error) => onFault(leg, error),
    );
  }

  #handler(leg: string, call: GrpcCall, exchange: Exchange): LegHandler {
    const { reasoningCarrierFor: carrierFor, keptAnswers, onTooLarge } = this.#options;
    if (leg === 'upstream') {
      return new UpstreamLeg({ exchange, carrierFor, watches: call.metadata(WATCH_METADATA) === 'true' });
    }
    if (leg === 'response') {
      const patienceSeconds = Number(call.metadata(PATIENCE_METADATA));
      return new ResponseLeg({ exchange, carrierFor, keptAnswers, onTooLarge, patienceSeconds });
    }
    return new FrontLeg({
      exchange,
      protocol: this.#options.protocol,
      pipeline: this.#options.front,
      bytesInFlight: this.bytesInFlight,
      onAnswer: this.#options.onAnswer,
      onAbandoned: this.#options.onAbandoned,
    });
  }

  #accessLog(call: GrpcCall): void {
    call.read({
      onMessage: (bytes) => {
        try {
          this.#options.onAccessLog(this.#options.protocol.streamAccessLogsMessage.decode(bytes));
        } catch (error) {
          this.#options.onFault('access-log', error);
        }
        return undefined;
      },
      onEnd: () => {
        call.write(Buffer.alloc(0));
        call.end();
      },
      onClose: () => undefined,
    });
  }

  #health(call: GrpcCall): void {
    this.#lastHealthCheck = performance.now();
    call.write(!this.#draining && this.#options.serving() ? SERVING : NOT_SERVING);
    call.end();
    call.read({ onMessage: () => undefined, onEnd: () => undefined, onClose: () => undefined });
  }
}
