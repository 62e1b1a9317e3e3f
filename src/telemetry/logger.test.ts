import { describe, expect, it } from 'vitest';
import { messageOf } from '../core/errors.ts';
import { createLogger } from './logger.ts';

function linesOf(write: (logger: ReturnType<typeof createLogger>) => void): Record<string, unknown>[] {
  const lines: string[] = [];
  write(createLogger('control', 'info', { write: (line) => lines.push(line) }));
  return lines.map((line): Record<string, unknown> => JSON.parse(line));
}

describe('createLogger', () => {
  it('writes component, level name, time and message', () => {
    const [line] = linesOf((logger) => logger.warn({ version: 3 }, 'snapshot refused'));
    expect(line).toMatchObject({
      component: 'control',
      level: 'warn',
      version: 3,
      message: 'snapshot refused',
    });
    expect(Date.parse(String(line?.['time']))).not.toBeNaN();
  });

  it('says nothing below its level', () => {
    expect(linesOf((logger) => logger.debug('detail'))).toEqual([]);
  });

  it('says of a failed query what went wrong, and never its parameters', () => {
    const sealed = 'v1.sealed-do-not-show';
    const query = Object.assign(
      new Error(`Failed query: insert into kept values ($1)\nparams: ${sealed}`, {
        cause: new Error('connection terminated'),
      }),
      { params: [sealed] },
    );
    const lines = linesOf((logger) => {
      logger.error({ error: query }, 'one');
      logger.error({ error: new Error('not kept', { cause: query }) }, 'two');
      logger.error({ error: new Error('plain') }, 'three');
      logger.error({ error: 'a text' }, 'four');
    });
    expect(JSON.stringify(lines)).not.toContain(sealed);
    expect(lines[0]?.['error']).toMatchObject({ message: 'connection terminated' });
    expect(lines[1]?.['error']).toMatchObject({ message: expect.stringMatching(/^not kept.*terminated/) });
    expect(lines[2]?.['error']).toMatchObject({ message: 'plain' });
    expect(lines[3]?.['error']).toBe('a text');
    expect(messageOf(query)).toBe('connection terminated');
  });

  it('redacts credentials at every depth that our lines have', () => {
    const secret = 'sk-do-not-show';
    const lines = linesOf((logger) => {
      logger.info({ authorization: secret }, 'one');
      logger.info({ headers: { 'x-api-key': secret } }, 'two');
      logger.info({ request: { headers: { cookie: secret } } }, 'three');
    });
    expect(lines).toHaveLength(3);
    expect(JSON.stringify(lines)).not.toContain(secret);
  });
});
