import { describe, expect, it } from 'vitest';
import { didYouMean, editDistance, endOfUnknown, nearestNames } from './nearest.ts';

describe('editDistance', () => {
  it.each([
    ['', '', 0],
    ['fast', '', 4],
    ['fast', 'fast', 0],
    ['fast', 'fats', 1],
    ['gpt-4o', 'gpt-4', 1],
    ['kitten', 'sitting', 3],
  ])('%j to %j is %i', (left, right, distance) => {
    expect(editDistance(left, right)).toBe(distance);
    expect(editDistance(right, left)).toBe(distance);
  });
});

describe('nearestNames', () => {
  it('gives the nearest first and leaves out strangers', () => {
    expect(nearestNames('gtp-4o', ['claude-haiku', 'gpt-4o', 'gpt-4o-mini', 'gpt-4'])).toEqual([
      'gpt-4o',
      'gpt-4',
    ]);
  });
});

describe('didYouMean', () => {
  it('names the nearest one, or nothing, also as the end of a sentence', () => {
    expect(didYouMean('gtp-4o', ['gpt-4o', 'gpt-4'])).toBe('did you mean gpt-4o?');
    expect(didYouMean('gtp-4o', ['claude-haiku'])).toBeUndefined();
    expect(`There is no x${endOfUnknown('gtp-4o', ['gpt-4o'])}`).toBe('There is no x; did you mean gpt-4o?');
    expect(`There is no x${endOfUnknown('gtp-4o', [])}`).toBe('There is no x.');
  });
});
