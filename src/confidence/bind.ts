/** Adds a bound value to a statement under construction and returns its placeholder. */
export type Bind = (value: unknown) => string;

export function binder(): { readonly values: unknown[]; readonly bind: Bind } {
  const values: unknown[] = [];
  return { values, bind: (value) => `$${values.push(value)}` };
}
