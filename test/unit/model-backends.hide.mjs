import { register } from 'node:module';

// Run with --import: names in HIDE_MODULES (module=what happens, comma between) do not load as they would.
const hooks = `
const hidden = new Map((process.env.HIDE_MODULES ?? '').split(',').map((entry) => entry.split('=')));
const stubs = {
  throws: 'throw new Error("no addon at this place\\\\nmore lines")',
  miscounts: 'export const enableProdMode = () => {}, ready = async () => {}, tidy = () => 3;',
};
export async function resolve(specifier, context, next) {
  const how = hidden.get(specifier);
  if (how === undefined) return next(specifier, context);
  if (how === 'missing')
    throw Object.assign(new Error("Cannot find package '" + specifier + "'"), { code: 'ERR_MODULE_NOT_FOUND' });
  return { url: 'data:text/javascript,' + encodeURIComponent(stubs[how]), format: 'module', shortCircuit: true };
}`;
register(`data:text/javascript,${encodeURIComponent(hooks)}`);
