import { describe, expect, it } from 'vitest';
import { KeyDirectory } from './key-directory.ts';

const key = (id: string, hash: string, user = 'ann') => ({ id, hash, user });

describe('KeyDirectory', () => {
  it('tells only what changed', () => {
    const directory = new KeyDirectory();
    expect(directory.setStored([key('1', 'a'), key('2', 'b')])).toEqual({
      upsert: [key('1', 'a'), key('2', 'b')],
      remove: [],
    });
    expect(directory.setStored([key('1', 'a'), key('2', 'b')])).toEqual({ upsert: [], remove: [] });
    expect(directory.setStored([key('2', 'b', 'bob')])).toEqual({
      upsert: [key('2', 'b', 'bob')],
      remove: ['a'],
    });
  });

  it('lets the configuration win over the database, and gives the stored key back when it goes', () => {
    const directory = new KeyDirectory();
    directory.setStored([key('stored', 'a')]);
    expect(directory.setDeclared([key('declared', 'a')])).toEqual({
      upsert: [key('declared', 'a')],
      remove: [],
    });
    expect(directory.setStored([])).toEqual({ upsert: [], remove: [] });
    expect(directory.setDeclared([])).toEqual({ upsert: [], remove: ['a'] });
  });

  it('sees a change of models or expiry', () => {
    const directory = new KeyDirectory();
    directory.setStored([{ ...key('1', 'a'), models: ['x'] }]);
    expect(directory.setStored([{ ...key('1', 'a'), models: ['x', 'y'] }]).upsert).toHaveLength(1);
    expect(directory.setStored([{ ...key('1', 'a'), models: ['x', 'y'], expiresAt: 5 }]).upsert).toHaveLength(
      1,
    );
  });
});
