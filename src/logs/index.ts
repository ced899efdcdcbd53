export { type FollowLogOptions, LogFollower, type LogPlace } from './follow-log.ts';
export { requireReadableLog } from './log-files.ts';
export { LogParser, type LogParserOptions } from './log-parser.ts';
export { type ReadLogOptions, readLog } from './read-log.ts';
export { type ExecutedStatement, type LogCounters, newLogCounters } from './statement.ts';
