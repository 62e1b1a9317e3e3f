/** What stands at the root of the console port, for programs: who this is, and where to go on. */
export function welcome(version: string): Record<string, string> {
  return {
    name: 'Limen',
    version,
    what: 'Admin API of an AI gateway',
    api: '/api/v1/status',
    documentation: '/api/v1/openapi.json',
    authorization: 'Bearer token: LIMEN_ADMIN_TOKEN, or the file keys/admin.token in the data folder',
  };
}

/** The same for people. */
export function welcomePage(version: string): string {
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Limen</title>
<h1>Limen ${version}</h1>
<p>This is the admin side of an AI gateway. Clients call the gateway port, not this one.</p>
<ul>
<li>State of everything: <code>npx limen doctor</code>, or <code>GET /api/v1/status</code> with the admin token.</li>
<li>A key for a client: <code>npx limen keys create --user NAME</code></li>
<li>What is configured: <code>npx limen get</code></li>
</ul>
<p>The admin token is LIMEN_ADMIN_TOKEN, or stands in <code>keys/admin.token</code> in the data folder.</p>
</html>
`;
}
