export { changes, revision } from './changes.ts';
export { resources } from './resources.ts';
export { virtualKeys } from './virtual-keys.ts';
