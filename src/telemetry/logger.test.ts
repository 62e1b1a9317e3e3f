import { describe, expect, it } from 'vitest';
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
