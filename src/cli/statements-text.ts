import type { StatementReport, StatementsReport } from '../migration/statements/report.ts';

const percent = (share: number) => `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`;
const clipped = (text: string, length = 140) => (text.length > length ? `${text.slice(0, length)}…` : text);

/** What there is to say of one statement, a line each; empty when it goes through the overlay and the swap as it is. */
function remarks(one: StatementReport): string[] {
  const lines: string[] = [];
  for (const why of one.not_for_overlay) lines.push(`not through the overlay: ${why}`);
  if (one.error_on_overlay) lines.push(`fails on the overlay: ${one.error_on_overlay}`);
  if (one.slow_on_overlay)
    lines.push(
      `SLOW on the overlay: ${one.slow_on_overlay}${one.translated ? ' (through the back map)' : ''}`,
    );
  if (one.error_after_swap) lines.push(`fails after the swap: ${one.error_after_swap}`);
  if (one.prepared_breaks)
    lines.push('prepared before the swap, it breaks: cached plan must not change result type');
  if (one.slow_after_swap) lines.push(`SLOW after the swap: ${one.slow_after_swap}`);
  for (const change of one.types) lines.push(`type: ${change}`);
  if (one.remark) lines.push(one.remark);
  return lines;
}

/** The report as text: the statements with something to say, most frequent first, then the indexes. */
export function statementsText(report: StatementsReport): string {
  const { log, tried_on, statements, indexes, serializable } = report;
  const lines = [
    `${log.executions} executions of ${log.shapes} statements name the table, of ${log.statements} in the log`,
    `planned on ${tried_on.rows} rows${tried_on.sampled ? ' (a block sample)' : ''}${tried_on.overlay ? ' and on the overlay' : ''}; none was run`,
  ];
  if (log.elsewhere + log.unparsed > 0)
    lines.push(
      `not looked at: ${log.elsewhere} executions of rarer statements, ${log.unparsed} that cannot be parsed`,
    );
  let quiet = 0;
  statements.forEach((one, i) => {
    const found = remarks(one);
    if (!found.length) quiet++;
    else
      lines.push(
        '',
        `${i + 1}. ${percent(one.share)}  ${clipped(one.statement)}`,
        ...found.map((line) => `   ${line}`),
      );
  });
  if (quiet) lines.push('', `${quiet} more have nothing to fear`);
  if (indexes.length) {
    lines.push('', 'Indexes that help (the planner used them on small copies of the tables):');
    for (const { sql, why, helps } of indexes)
      lines.push(`  ${sql};  -- ${why}: statement ${helps.map((i) => i + 1).join(', ')}`);
    lines.push('Then analyze the table: an index on an expression needs statistics of its own.');
  }
  if (serializable.executions > 0 || serializable.defaults.length) {
    const who = serializable.defaults.length ? `; by default: ${serializable.defaults.join(', ')}` : '';
    lines.push(
      '',
      `SERIALIZABLE: ${percent(serializable.share)} of the executions${who}. Through the overlay such a reader locks pages of three tables instead of one, the key log among them, which every writer of the source writes to: expect more 40001, or leave these reads on the source.`,
    );
  }
  return lines.join('\n');
}
