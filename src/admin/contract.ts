/** What the admin API takes and gives, by subject. */
export * from './contract/common.ts';
export * from './contract/keys.ts';
export * from './contract/resources.ts';
export * from './contract/status.ts';
export * from './contract/sessions.ts';
