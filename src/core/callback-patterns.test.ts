import { describe, expect, it } from 'vitest';
import { isCallbackOf, isCallbackPattern } from './callback-patterns.ts';

describe('a pattern of callbacks', () => {
  it.each([
    'https://chatgpt.com/connector_platform_oauth_redirect',
    'https://chatgpt.com/connector/*',
    'https://chatgpt.com/*',
    'https://chatgpt.com',
    'https://example.com:8443/callback?kind=a',
    'http://127.0.0.1/callback',
    'http://localhost:6274/oauth/callback',
    'http://[::1]/*',
    'cursor://anysphere.cursor-retrieval/oauth/callback',
    'com.example.app:/callback',
  ])('may be %s', (pattern) => {
    expect(isCallbackPattern(pattern)).toBe(true);
  });

  it.each([
    '*',
    'https://*',
    'https://*.example.com/callback',
    'https://example.com/a/*/b',
    'https://example.com/a*',
    'https://example.com/?a=b/*',
    'http://example.com/callback',
    'http://127.0.0.1.example.com/callback',
    'https://user@example.com/callback',
    'https://example.com/callback#fragment',
    'https://example.com/a/../b',
    'https://EXAMPLE.com/callback',
    'https://example.com:443/callback',
    'javascript:alert(1)',
    'data:text/html,x',
    'cursor://host/*',
    'example.com/callback',
    '',
    `https://example.com/${'a'.repeat(2048)}`,
  ])('is not %s', (pattern) => {
    expect(isCallbackPattern(pattern)).toBe(false);
    expect(isCallbackOf([pattern], pattern)).toBe(false);
  });
});

describe('a callback', () => {
  const patterns = [
    'https://chatgpt.com/connector/*',
    'https://claude.ai/api/mcp/auth_callback',
    'http://localhost/callback',
    'http://127.0.0.1:6274/callback',
    'cursor://retrieval/callback',
  ];

  it.each([
    'https://chatgpt.com/connector/oauth/1?session=2',
    'https://chatgpt.com/connector/',
    'https://claude.ai/api/mcp/auth_callback',
    'http://localhost/callback',
    'http://localhost:49152/callback',
    'http://127.0.0.1:6274/callback',
    'cursor://retrieval/callback',
  ])('is allowed: %s', (callback) => {
    expect(isCallbackOf(patterns, callback)).toBe(true);
  });

  it.each([
    'https://chatgpt.com/connector',
    'https://chatgpt.com/connectors/1',
    'https://chatgpt.com/connector/../share',
    'https://chatgpt.com/connector/%2e%2e/share',
    'https://chatgpt.com/connector/..%2fshare',
    'https://chatgpt.com/connector/..\\share',
    'https://chatgpt.com/connector/*',
    'https://chatgpt.com.evil.example/connector/1',
    'https://chatgpt.com@evil.example/connector/1',
    'https://evil.example\\@chatgpt.com/connector/1',
    'https://evil.example/https://chatgpt.com/connector/1',
    'https://*.com/connector/1',
    'https://chatgpt.com:8443/connector/1',
    'http://chatgpt.com/connector/1',
    'https://claude.ai/api/mcp/auth_callback?to=https://evil.example',
    'https://claude.ai/api/mcp/auth_callback/more',
    'https://claude.ai/api/mcp/auth_callback#fragment',
    'http://localhost:49152/other',
    'https://localhost/callback',
    'http://127.0.0.1:6275/callback',
    'http://127.0.0.1/callback',
    'cursor://retrieval/callback/more',
    'cursor://other/callback',
    'javascript:alert(1)//https://claude.ai/api/mcp/auth_callback',
    ' https://claude.ai/api/mcp/auth_callback',
    'https://claude.ai/api/mcp/auth_callback\n',
    '',
  ])('is refused: %j', (callback) => {
    expect(isCallbackOf(patterns, callback)).toBe(false);
  });

  it('is refused where none is listed', () => {
    expect(isCallbackOf([], 'https://claude.ai/api/mcp/auth_callback')).toBe(false);
  });
});
