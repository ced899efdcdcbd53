import Type from 'typebox';
import { closed } from './common.ts';

export const Health = Type.Object(
  {
    status: Type.Enum(['ok', 'not ready']),
    missing: Type.Array(Type.String(), { description: 'What is not there, each in a sentence.' }),
  },
  { ...closed, $id: 'Health' },
);
