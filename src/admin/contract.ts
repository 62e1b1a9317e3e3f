/** What the admin API takes and gives, by subject. */
export * from './contract/access.ts';
export * from './contract/common.ts';
export * from './contract/cross-app.ts';
export * from './contract/events.ts';
export * from './contract/identity-logs.ts';
export * from './contract/keys.ts';
export * from './contract/limits.ts';
export * from './contract/requests.ts';
export * from './contract/resources.ts';
export * from './contract/revocations.ts';
export * from './contract/status.ts';
export * from './contract/users.ts';
export * from './contract/sessions.ts';
