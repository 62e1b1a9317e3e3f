export { changes, revision } from './changes.ts';
export { events } from './events.ts';
export { issuerKeys } from './issuer-keys.ts';
export { resources } from './resources.ts';
export { revocations } from './revocations.ts';
export { users } from './users.ts';
export { virtualKeys } from './virtual-keys.ts';
