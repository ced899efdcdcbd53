const NUMBER = /^[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?$/i;
const ISO =
  /^(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?)?(Z|[+-]\d\d(?::?\d\d)?)?$/i;

/**
 * Reads a time: a number of Unix seconds, or ISO 8601 (`2026-11-27`, `2026-11-27T08:00:00+01:00`). Without an offset
 * it is UTC, never the zone of the machine that happens to read it.
 * @returns seconds, or null when it is neither
 */
export function parseInstant(text: string): number | null {
  if (NUMBER.test(text)) {
    const value = Number(text);
    return Number.isFinite(value) ? value : null;
  }
  const match = ISO.exec(text);
  if (!match) return null;
  const [year, month, day, hour, minute, second] = match.slice(1, 7).map((part) => Number(part ?? 0)) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  const midnight = Date.UTC(year, month - 1, day);
  // A day that the month does not have would silently become one of the next.
  if (new Date(midnight).getUTCDate() !== day || new Date(midnight).getUTCMonth() !== month - 1) return null;
  if (minute > 59 || second > 59 || hour * 3600 + minute * 60 + second > 86_400) return null;
  const offset = offsetSeconds(match[8]);
  if (offset === null) return null;
  const fraction = match[7] ? Number(`0.${match[7]}`) : 0;
  return midnight / 1000 + hour * 3600 + minute * 60 + second + fraction - offset;
}

/** `Z`, `+01`, `-0330`, `+05:45` → seconds east of UTC. */
function offsetSeconds(text: string | undefined): number | null {
  if (text === undefined || text.toUpperCase() === 'Z') return 0;
  const digits = text.slice(1).replace(':', '');
  const [hours, minutes] = [Number(digits.slice(0, 2)), Number(digits.slice(2) || 0)];
  if (hours > 23 || minutes > 59) return null;
  return (text[0] === '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
}
