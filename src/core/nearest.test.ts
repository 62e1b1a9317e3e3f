import { describe, expect, it } from 'vitest';
import { editDistance, nearestNames } from './nearest.ts';

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
