/** Rules about the source tree, and a checker that tells which file breaks which. See docs and architecture.test.ts. */
export interface ArchitectureRules {
  /** unit (a folder or file of src/) → units from which it may import values */
  readonly values: Readonly<Record<string, readonly string[]>>;
  /** unit → further units from which it may `import type` */
  readonly types: Readonly<Record<string, readonly string[]>>;
  /** files that compute and do nothing else */
  readonly pure: readonly RegExp[];
  /** except these: the house's names for files that read and write */
  readonly impureNames: RegExp;
  /** what a pure file must not import; packages by name, files of ours by path within src */
  readonly impureImports: RegExp;
  /** what a pure file must not say */
  readonly impureCode: RegExp;
  /** things that only some files may say */
  readonly only: readonly { readonly says: RegExp; readonly in: RegExp; readonly name: string }[];
  readonly forbiddenFolders: RegExp;
  readonly maxLines: number;
}

export interface ImportLine {
  readonly from: string;
  readonly typeOnly: boolean;
}

/**
 * @param files path within src → text
 * @returns one line for each breach, empty when the tree keeps the rules
 */
export function checkArchitecture(files: ReadonlyMap<string, string>, rules: ArchitectureRules): string[] {
  const breaches: string[] = [];
  for (const [path, text] of files) {
    const say = (what: string) => breaches.push(`${path}: ${what}`);
    const lines = text.trimEnd().split('\n').length;
    if (lines > rules.maxLines) say(`has ${lines} lines, more than ${rules.maxLines}`);
    const folder = path
      .split('/')
      .slice(0, -1)
      .find((name) => rules.forbiddenFolders.test(name));
    if (folder !== undefined) say(`lies in a folder called ${folder}`);

    const code = withoutCommentsAndStrings(text);
    for (const { says, in: where, name } of rules.only) {
      if (says.test(code) && !where.test(path)) say(`says ${name}`);
    }
    const imports = importsOf(text);
    checkDirection(path, imports, rules, say);
    if (isPure(path, rules)) checkPurity(path, files, rules, say);
  }
  return breaches;
}

type Say = (what: string) => void;

function checkDirection(
  path: string,
  imports: readonly ImportLine[],
  rules: ArchitectureRules,
  say: Say,
): void {
  const unit = unitOf(path);
  const values = rules.values[unit];
  if (values === undefined) {
    say(`belongs to "${unit}", which has no place in the architecture yet`);
    return;
  }
  const types = [...values, ...(rules.types[unit] ?? [])];
  for (const { from, typeOnly } of imports) {
    const target = resolveWithin(path, from);
    if (target === null) continue; // a package
    const other = unitOf(target);
    if (other === unit || (typeOnly ? types : values).includes(other)) continue;
    say(`${unit} may not import ${typeOnly ? 'types' : 'values'} from ${other} (${from})`);
  }
}

/** Follows value imports to their end: a pure file is only as pure as what it calls. */
function checkPurity(
  path: string,
  files: ReadonlyMap<string, string>,
  rules: ArchitectureRules,
  say: Say,
): void {
  const seen = new Set([path]);
  for (const reached of seen) {
    const text = files.get(reached);
    if (text === undefined) continue;
    const through = reached === path ? '' : `, which ${reached} does`;
    const word = rules.impureCode.exec(withoutCommentsAndStrings(text))?.[0];
    if (word !== undefined) say(`is pure and may not use ${word.trim()}${through}`);
    for (const { from, typeOnly } of importsOf(text)) {
      if (typeOnly) continue;
      const target = resolveWithin(reached, from);
      if (rules.impureImports.test(target ?? from) || rules.impureNames.test(target ?? '')) {
        say(`is pure and may not import ${target ?? from}${through}`);
      } else if (target !== null) seen.add(target); // the loop goes on to what is added
    }
  }
}

function isPure(path: string, rules: ArchitectureRules): boolean {
  return rules.pure.some((pattern) => pattern.test(path)) && !rules.impureNames.test(path);
}

/** 'db/pool.ts' → 'db'; 'pipeline.ts' → 'pipeline' */
function unitOf(path: string): string {
  return (path.split('/')[0] as string).replace(/\.tsx?$/, '');
}

/** @returns the path within src, or null for a package */
function resolveWithin(path: string, from: string): string | null {
  if (!from.startsWith('.')) return null;
  return new URL(from, `src:///${path}`).pathname.slice(1);
}

/** Imports, re-exports and dynamic imports. `import { type A }` counts as a value: it still loads the file. */
export function importsOf(text: string): ImportLine[] {
  const code = withoutComments(text);
  const found: ImportLine[] = [];
  for (const match of code.matchAll(
    /^\s*(?:import|export)\s+(type\b(?!\s+from\b)\s*)?(?:[\w$*{][^;'"]*?\bfrom\s*)?(['"])(.+?)\2/gm,
  )) {
    found.push({ from: match[3] as string, typeOnly: match[1] !== undefined });
  }
  for (const match of code.matchAll(/(typeof\s+)?\bimport\s*\(\s*(['"])(.+?)\2/g)) {
    found.push({ from: match[3] as string, typeOnly: match[1] !== undefined });
  }
  return found;
}

const commentOrString =
  /\/\*[\s\S]*?\*\/|\/\/[^\n]*|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`/g;

function withoutComments(text: string): string {
  return text.replace(commentOrString, (part) => (part.startsWith('/') ? ' ' : part));
}

/** What is inside `${…}` goes too: good enough for words that hardly anybody hides there. */
function withoutCommentsAndStrings(text: string): string {
  return text.replace(commentOrString, (part) => (part.startsWith('/') ? ' ' : "''"));
}
