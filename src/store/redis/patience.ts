/** A server that answered too late, or not at all. */
export class TooLateError extends Error {
  constructor() {
    super('Command timed out');
    this.name = 'TooLateError';
  }
}

/**
 * What a command answers within so many milliseconds, or a TooLateError. They begin at the end of this turn, when the
 * command leaves (connection.ts). A timer that is due fires before Node reads what lies in its sockets: after a stall of
 * this process, the answers that came meanwhile are read first, so that a busy worker is not taken for a silent server.
 */
export function answeredWithin<Answer>(milliseconds: number, answer: Promise<Answer>): Promise<Answer> {
  return new Promise((resolve, reject) => {
    let timer: NodeJS.Timeout | undefined;
    const sent = setImmediate(() => {
      timer = setTimeout(() => setImmediate(() => reject(new TooLateError())), milliseconds);
    });
    void answer.then(resolve, reject).finally(() => {
      clearImmediate(sent);
      clearTimeout(timer);
    });
  });
}
