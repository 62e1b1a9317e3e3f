export { changes, revision } from './changes.ts';
export { events } from './events.ts';
export { issuerKeys } from './issuer-keys.ts';
export { knownTeams } from './known-teams.ts';
export { resources } from './resources.ts';
export { revocations } from './revocations.ts';
export { signingKeys } from './signing-keys.ts';
export { users } from './users.ts';
export { virtualKeys } from './virtual-keys.ts';
