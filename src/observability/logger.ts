import pino, { type DestinationStream, type Logger } from 'pino';
import type { LogLevel } from '../config/config.ts';
import { loggable } from './loggable.ts';

/** Logs go to stderr as JSON lines; stdout is for results. Connection strings never reach it. */
export function createLogger(
  level: LogLevel,
  destination: DestinationStream = pino.destination({ dest: 2, sync: true }),
): Logger {
  return pino(
    {
      level,
      redact: {
        paths: ['databaseUrl', 'url', 'connectionString', '*.password', '*.connectionString'],
        censor: '(hidden)',
      },
      // what the database says of an error may hold values of rows
      serializers: { err: loggable },
      base: null,
    },
    destination,
  );
}
