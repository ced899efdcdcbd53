/** The document of `doctor --statements`: no value of the application's in it, and no parameter. */
export interface StatementsReport {
  readonly log: {
    /** statements of all tables that were looked at */
    readonly statements: number;
    /** of them, executions that name the source or the target */
    readonly executions: number;
    readonly shapes: number;
    /** executions of shapes beyond those that are kept, and of texts that cannot be parsed */
    readonly elsewhere: number;
    readonly unparsed: number;
  };
  readonly tried_on: {
    /** rows of the source that were copied into temporary tables to try statements on */
    readonly rows: number;
    readonly sampled: boolean;
    /** the overlay is there already, and was asked too */
    readonly overlay: boolean;
  };
  readonly statements: readonly StatementReport[];
  /** every index that helps, once, with the shapes it helps (numbers of `statements`, from 0) */
  readonly indexes: readonly (IndexAdvice & { readonly helps: readonly number[] })[];
  readonly serializable: SerializableReport;
}

export interface StatementReport {
  readonly statement: string;
  readonly executions: number;
  /** of the executions that name either table */
  readonly share: number;
  readonly kind: string;
  /** which name it uses today */
  readonly reads: 'source' | 'target';
  /** planner costs on the same rows; null where it cannot be planned, or makes no sense */
  readonly cost: {
    readonly source: number | null;
    readonly overlay: number | null;
    readonly target: number | null;
  };
  /** what it would cost on the overlay: why it would be slow; null when it would not, or cannot run there */
  readonly slow_on_overlay: string | null;
  readonly slow_after_swap: string | null;
  /** the costs are those of the same question put to columns of the target through the back map */
  readonly translated: boolean;
  /** why it must stay on the source until the swap */
  readonly not_for_overlay: readonly string[];
  /** PostgreSQL's word on the statement as it is, on the overlay */
  readonly error_on_overlay: string | null;
  /** and on the target under the source's name */
  readonly error_after_swap: string | null;
  /** sessions that have it prepared get an error at the swap, though it would do when prepared anew */
  readonly prepared_breaks: boolean;
  /** what means something else with the new types */
  readonly types: readonly string[];
  readonly advice: readonly IndexAdvice[];
  /** what else there is to say of a slow one: nothing helps, or nothing was tried */
  readonly remark: string | null;
}

export interface IndexAdvice {
  readonly table: 'source' | 'target';
  readonly sql: string;
  readonly why: 'overlay' | 'after the swap';
}

export interface SerializableReport {
  readonly executions: number;
  readonly share: number;
  /** roles and databases whose default is SERIALIZABLE */
  readonly defaults: readonly string[];
}
