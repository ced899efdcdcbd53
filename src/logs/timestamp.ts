/**
 * PostgreSQL prints log times with an abbreviation of `log_timezone`. Abbreviations are ambiguous by nature (CST is
 * also China, IST also Israel); these are the readings that PostgreSQL's own `Default` list prefers, in hours.
 */
const zoneHours: Readonly<Record<string, number>> = {
  UTC: 0,
  GMT: 0,
  Z: 0,
  UCT: 0,
  WET: 0,
  WEST: 1,
  BST: 1,
  CET: 1,
  CEST: 2,
  EET: 2,
  EEST: 3,
  SAST: 2,
  MSK: 3,
  EST: -5,
  EDT: -4,
  CST: -6,
  CDT: -5,
  MST: -7,
  MDT: -6,
  PST: -8,
  PDT: -7,
  AKST: -9,
  AKDT: -8,
  HST: -10,
  IST: 5.5,
  PKT: 5,
  HKT: 8,
  JST: 9,
  KST: 9,
  AWST: 8,
  ACST: 9.5,
  ACDT: 10.5,
  AEST: 10,
  AEDT: 11,
  NZST: 12,
  NZDT: 13,
};

export interface LogTime {
  /** seconds since the epoch */
  readonly at: number;
  /** false when the zone was read as UTC for want of a better idea */
  readonly zoneKnown: boolean;
}

/** Seconds east of UTC, or undefined: `UTC`, `CEST`, and the numeric forms `+03`, `-0330`, `+05:45`. */
function zoneOffset(zone: string): number | undefined {
  const hours = zoneHours[zone];
  if (hours !== undefined) return hours * 3600;
  const numeric = /^([+-])(\d\d):?(\d\d)?$/.exec(zone);
  if (!numeric) return undefined;
  const size = Number(numeric[2]) * 3600 + Number(numeric[3] ?? 0) * 60;
  return numeric[1] === '-' ? -size : size;
}

/**
 * A reader of `2026-05-01 12:00:00.123 CEST`, with or without milliseconds. It remembers the last minute, which
 * neighbouring lines share.
 */
export function createTimeReader(): (text: string) => LogTime | undefined {
  let minute = '';
  let zone = '';
  let base = 0;
  let zoneKnown = true;
  return (text) => {
    const milliseconds = text.charCodeAt(19) === 46 ? threeDigits(text, 20) : 0;
    const space = text.charCodeAt(19) === 46 ? 23 : 19;
    const seconds = digit(text, 17) * 10 + digit(text, 18);
    if (!(seconds < 61 && milliseconds < 1000)) return undefined;
    if (space < text.length && text.charCodeAt(space) !== 32) return undefined;
    const sameMinute = minute !== '' && text.startsWith(minute);
    if (!sameMinute || text.length !== space + 1 + zone.length || !text.endsWith(zone)) {
      const match = /^(\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):/.exec(text);
      if (!match) return undefined;
      zone = text.slice(space + 1);
      const offset = zoneOffset(zone);
      zoneKnown = offset !== undefined;
      const [year, month, day, hour, min] = match.slice(1).map(Number) as [
        number,
        number,
        number,
        number,
        number,
      ];
      base = Date.UTC(year, month - 1, day, hour, min) - (offset ?? 0) * 1000;
      minute = match[0];
    }
    // whole milliseconds, so that 1.123 does not become 1.1229999
    return { at: (base + seconds * 1000 + milliseconds) / 1000, zoneKnown };
  };
}

/** NaN for anything but a digit. */
function digit(text: string, i: number): number {
  const c = text.charCodeAt(i) - 48;
  return c >= 0 && c <= 9 ? c : Number.NaN;
}

const threeDigits = (text: string, i: number): number =>
  digit(text, i) * 100 + digit(text, i + 1) * 10 + digit(text, i + 2);
