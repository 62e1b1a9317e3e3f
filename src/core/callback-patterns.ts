/** Hosts that a browser looks for on its own machine alone. */
const LOOPBACK_HOSTS: ReadonlySet<string> = new Set(['localhost', '127.0.0.1', '[::1]']);
/** Schemes that are no application's own: a browser itself acts on them. */
const FOREIGN_SCHEMES: ReadonlySet<string> = new Set([
  'about:',
  'blob:',
  'data:',
  'file:',
  'filesystem:',
  'ftp:',
  'javascript:',
  'vbscript:',
  'ws:',
  'wss:',
]);
const LONGEST = 2048;
const WILDCARD = '/*';

/**
 * Whether a text says which callbacks are meant: an https URL; an http URL of this machine, which without a port stands
 * for every port (RFC 8252, section 7.3); a URL of an application's own scheme. A path that ends in `/*` stands for all
 * below it, where the scheme is http or https.
 */
export function isCallbackPattern(pattern: string): boolean {
  return patternOf(pattern) !== undefined;
}

/** Whether a callback of a client is one of those that the patterns stand for. */
export function isCallbackOf(patterns: readonly string[], callback: string): boolean {
  const url = plainUrl(callback);
  return url !== undefined && patterns.some((text) => fits(patternOf(text), url));
}

interface Pattern {
  readonly url: URL;
  /** Everything below it is meant, too. */
  readonly below: boolean;
}

function patternOf(text: string): Pattern | undefined {
  const below = text.endsWith(WILDCARD);
  const url = plainUrl(below ? text.slice(0, -1) : text);
  if (url === undefined || FOREIGN_SCHEMES.has(url.protocol)) return undefined;
  if (url.protocol === 'http:' && !isLoopback(url)) return undefined;
  const isWeb = url.protocol === 'http:' || url.protocol === 'https:';
  return below && (!isWeb || url.search !== '') ? undefined : { url, below };
}

function fits(pattern: Pattern | undefined, callback: URL): boolean {
  if (pattern === undefined) return false;
  const { url, below } = pattern;
  const isHost = url.protocol === 'http:' && url.port === '' ? 'hostname' : 'host';
  if (callback.protocol !== url.protocol || callback[isHost] !== url[isHost]) return false;
  if (below) return callback.pathname.startsWith(url.pathname);
  return callback.pathname === url.pathname && callback.search === url.search;
}

function isLoopback({ hostname }: URL): boolean {
  return LOOPBACK_HOSTS.has(hostname);
}

/**
 * A URL that every reader understands alike; undefined for all that one may read in two ways: with a user name or a
 * fragment, a star (which identity providers take for any text), a backslash, a dot or a slash that is escaped, or
 * written otherwise than a browser would.
 */
function plainUrl(text: string): URL | undefined {
  if (text.length > LONGEST || !/^[\x21-\x7e]+$/.test(text) || /[*\\#]|%2e|%2f|%5c/i.test(text))
    return undefined;
  if (!URL.canParse(text)) return undefined;
  const url = new URL(text);
  if (url.username !== '' || url.password !== '') return undefined;
  return url.href === text || url.href === `${text}/` ? url : undefined;
}
