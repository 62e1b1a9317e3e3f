import { describe, expect, it } from 'vitest';
import { authorizeModel } from './authorize.ts';

describe('authorizeModel', () => {
  const key = { id: 'k', hash: '', user: 'ann' };

  it('lets a key without a list use every model', () => {
    expect(() => authorizeModel(key, 'any')).not.toThrow();
  });

  it('refuses what is not on the list, and everything where the list is empty', () => {
    expect(() => authorizeModel({ ...key, models: ['gpt-*'] }, 'claude')).toThrow(
      expect.objectContaining({ code: 'model_not_allowed', status: 403 }),
    );
    expect(() => authorizeModel({ ...key, models: [] }, 'gpt-4o')).toThrow();
  });
});
