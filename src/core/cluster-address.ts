/** Where some nodes of a Redis Cluster are found, and how to log in to all of them. */
export interface ClusterAddress {
  readonly hosts: readonly { readonly host: string; readonly port: number }[];
  readonly login: { readonly username?: string; readonly password?: string };
  readonly tls: boolean;
}

const DEFAULT_PORT = 6379;

/**
 * Reads `redis+cluster://USER:PASSWORD@HOST:PORT,HOST:PORT` and `rediss+cluster://…` (TLS). Undefined for whatever is
 * none of them.
 */
export function clusterOf(url: string): ClusterAddress | undefined {
  const match = /^(?<scheme>rediss?)\+cluster:\/\/(?:(?<login>[^@/]*)@)?(?<hosts>[^@/?#]+)\/?$/.exec(url);
  const { scheme, login = '', hosts = '' } = match?.groups ?? {};
  const nodes = hosts.split(',').map((host) => `redis://${host}`);
  if (scheme === undefined || !nodes.every((node) => URL.canParse(node) && new URL(node).hostname !== ''))
    return undefined;
  const separator = login.indexOf(':');
  const [username, password] = (
    separator < 0 ? ['', login] : [login.slice(0, separator), login.slice(separator + 1)]
  ).map(decoded);
  if (username === undefined || password === undefined) return undefined;
  return {
    hosts: nodes.map((node) => {
      const { hostname, port } = new URL(node);
      return { host: hostname.replace(/^\[(.*)\]$/, '$1'), port: port === '' ? DEFAULT_PORT : Number(port) };
    }),
    login: {
      ...(username === '' ? {} : { username }),
      ...(password === '' ? {} : { password }),
    },
    tls: scheme === 'rediss',
  };
}

/** Undefined for what no text is written as. */
function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
