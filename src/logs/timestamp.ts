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

/** A reader of `2026-05-01 12:00:00.123 CEST`. It remembers the last minute, which neighbouring lines share. */
export function createTimeReader(): (text: string) => LogTime | undefined {
  let minute = '';
  let zone = '';
  let base = 0;
  let zoneKnown = true;
  return (text) => {
    const space = text.indexOf(' ', 17);
    const newZone = space < 0 ? '' : text.slice(space + 1);
    if (newZone !== zone || !text.startsWith(minute) || minute === '') {
      const match = /^(\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):/.exec(text);
      if (!match) return undefined;
      const [, year, month, day, hour, min] = match.map(Number) as [
        number,
        number,
        number,
        number,
        number,
        number,
      ];
      const offset = zoneOffset(newZone);
      zoneKnown = offset !== undefined;
      base = Date.UTC(year, month - 1, day, hour, min) / 1000 - (offset ?? 0);
      minute = match[0];
      zone = newZone;
    }
    const seconds = Number(text.slice(17, space < 0 ? undefined : space));
    if (!(seconds >= 0 && seconds < 61)) return undefined;
    // whole milliseconds, so that 1.123 does not become 1.1229999
    return { at: Math.round((base + seconds) * 1000) / 1000, zoneKnown };
  };
}
