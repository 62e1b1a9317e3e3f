/** What the bytes of an answer are judged by. */
export interface AnswerKind {
  readonly model: string;
  /** Client format: the bytes are counted in it. */
  readonly format: string;
  readonly stream: boolean;
}

/** Frame of an answer, bytes that carry no token, and bytes that carry one. */
interface Shape {
  readonly frameBytes: number;
  readonly bytesPerToken: number;
}

/**
 * Sizes to start from. A chunk of Chat Completions repeats id, model and choice around each token or two; an
 * event of Messages is shorter, with a longer beginning and end. In a JSON answer a token is about four letters.
 */
const STREAM_SHAPES: Readonly<Record<string, Shape>> = {
  chat: { frameBytes: 450, bytesPerToken: 220 },
  messages: { frameBytes: 900, bytesPerToken: 120 },
};
const OTHER_STREAM: Shape = { frameBytes: 600, bytesPerToken: 180 };
const WHOLE: Shape = { frameBytes: 400, bytesPerToken: 4 };

/** Share of a new observation in the average: about the last ten answers count. */
const WEIGHT = 0.2;
/** Shorter answers are mostly frame and would teach nonsense. */
const LEAST_TOKENS_TO_LEARN_FROM = 16;
/** Beyond these an observation is an accident (a compressed answer, a provider's slip), not a shape. */
const BYTES_PER_TOKEN_RANGE = { from: 1, to: 4096 } as const;
/** Models and formats remembered; the one unused for longest goes first. */
const MOST_KINDS = 500;

/**
 * Guesses the output tokens of an answer that was cut off, from the bytes that reached the client. It learns the
 * bytes per token of each model and format from answers whose usage the provider told, so hidden reasoning,
 * which costs tokens and sends no bytes, is in the average.
 */
export class OutputEstimator {
  readonly #learnt = new Map<string, number>();

  /** Tokens in `bytes` bytes of body; never negative. */
  estimate(kind: AnswerKind, bytes: number): number {
    const shape = shapeOf(kind);
    const key = keyOf(kind);
    const learnt = this.#learnt.get(key);
    if (learnt !== undefined) this.#remember(key, learnt);
    return Math.max(0, Math.round((bytes - shape.frameBytes) / (learnt ?? shape.bytesPerToken)));
  }

  /** Takes a completed answer of `bytes` bytes and `tokens` output tokens as an example. */
  learn(kind: AnswerKind, bytes: number, tokens: number): void {
    if (tokens < LEAST_TOKENS_TO_LEARN_FROM) return;
    const shape = shapeOf(kind);
    const observed = (bytes - shape.frameBytes) / tokens;
    if (!(observed >= BYTES_PER_TOKEN_RANGE.from && observed <= BYTES_PER_TOKEN_RANGE.to)) return;
    const key = keyOf(kind);
    const average = this.#learnt.get(key) ?? shape.bytesPerToken;
    this.#remember(key, average + WEIGHT * (observed - average));
  }

  /** A Map keeps the order of insertion, so the first key is the one unused for longest. */
  #remember(key: string, bytesPerToken: number): void {
    this.#learnt.delete(key);
    this.#learnt.set(key, bytesPerToken);
    if (this.#learnt.size <= MOST_KINDS) return;
    for (const oldest of this.#learnt.keys()) {
      this.#learnt.delete(oldest);
      return;
    }
  }
}

function shapeOf(kind: AnswerKind): Shape {
  return kind.stream ? (STREAM_SHAPES[kind.format] ?? OTHER_STREAM) : WHOLE;
}

function keyOf(kind: AnswerKind): string {
  return JSON.stringify([kind.model, kind.format, kind.stream]);
}
