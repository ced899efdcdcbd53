import { once } from 'node:events';
import { type FileHandle, open } from 'node:fs/promises';
import { createGunzip, type Gunzip } from 'node:zlib';
import { identityOf, unreadable } from './log-files.ts';

/** The bytes of a log file from its beginning, unpacked if it is compressed. */
export interface LogBytes {
  readonly compressed: boolean;
  /** device and inode of what was opened: a path may lead to another file by now */
  readonly identity: string;
  /** a compressed file that ends too early, or is damaged: what comes before that has been read */
  readonly cut: boolean;
  /**
   * @returns the next bytes, which are good until the next call; null at the end
   * @throws ForeshadowError LOG_UNREADABLE
   */
  next(): Promise<Buffer | null>;
  close(): Promise<void>;
}

/**
 * What is compressed is told by its first bytes, not by its name.
 * @param pieceBytes bytes read from a plain file at a time
 * @throws ForeshadowError LOG_UNREADABLE
 */
export async function openLog(path: string, pieceBytes: number): Promise<PlainBytes | PackedBytes> {
  try {
    const handle = await open(path, 'r');
    try {
      const identity = identityOf(await handle.stat({ bigint: true }));
      const head = Buffer.alloc(2);
      await handle.read(head, 0, 2, 0);
      if (head[0] !== 0x1f || head[1] !== 0x8b) return new PlainBytes(path, handle, identity, pieceBytes);
      await handle.close();
      return new PackedBytes(path, identity);
    } catch (error) {
      await handle.close();
      throw error;
    }
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

class PlainBytes implements LogBytes {
  readonly compressed = false;
  readonly cut = false;
  readonly identity: string;
  private readonly path: string;
  private readonly handle: FileHandle;
  private readonly buffer: Buffer;
  private position = 0;

  constructor(path: string, handle: FileHandle, identity: string, pieceBytes: number) {
    this.path = path;
    this.handle = handle;
    this.identity = identity;
    this.buffer = Buffer.allocUnsafeSlow(pieceBytes);
  }

  async next(): Promise<Buffer | null> {
    try {
      const { bytesRead } = await this.handle.read(this.buffer, 0, this.buffer.length, this.position);
      this.position += bytesRead;
      return bytesRead > 0 ? this.buffer.subarray(0, bytesRead) : null;
    } catch (cause) {
      throw unreadable(this.path, cause);
    }
  }

  async close(): Promise<void> {
    await this.handle.close();
  }
}

/** bytes unpacked at a time: text shrinks to a tenth, at worst to a thousandth, and then this is 32 MB of it */
const packedPiece = 32 * 1024;

/** Can be closed and read on, so that a follower need not keep it open. */
export class PackedBytes implements LogBytes {
  readonly compressed = true;
  readonly identity: string;
  cut = false;
  /** follows the file when it is renamed */
  path: string;
  private handle: FileHandle | undefined;
  private readonly gunzip: Gunzip = createGunzip();
  private readonly parts: Buffer[] = [];
  private position = 0;
  private over = false;

  constructor(path: string, identity: string) {
    this.path = path;
    this.identity = identity;
    this.gunzip.on('data', (part: Buffer) => this.parts.push(part));
    // "unexpected end of file", or bytes that are none of gzip: what came out before is good
    this.gunzip.on('error', () => {
      this.cut = true;
      this.over = true;
    });
  }

  async next(): Promise<Buffer | null> {
    while (this.parts.length === 0 && !this.over) {
      const piece = await this.packed();
      if (piece.length > 0) {
        this.position += piece.length;
        await new Promise<void>((resolve) => this.gunzip.write(piece, () => resolve()));
      } else {
        this.over = true;
        const ended = Promise.race([once(this.gunzip, 'end'), once(this.gunzip, 'close')]);
        this.gunzip.end();
        await ended.catch(() => {}); // the listener above has seen it
      }
    }
    return this.parts.length === 0 ? null : Buffer.concat(this.parts.splice(0));
  }

  /** What gzip says at the very end of the file: how long the (last) content is, modulo 2^32. */
  async statedLength(): Promise<number> {
    const handle = await this.opened();
    const { size } = await handle.stat();
    const tail = Buffer.alloc(4);
    await handle.read(tail, 0, 4, Math.max(0, size - 4));
    return tail.readUInt32LE();
  }

  async close(): Promise<void> {
    await this.handle?.close();
    this.handle = undefined;
  }

  private async packed(): Promise<Buffer> {
    try {
      const piece = Buffer.allocUnsafe(packedPiece);
      const { bytesRead } = await (await this.opened()).read(piece, 0, packedPiece, this.position);
      return piece.subarray(0, bytesRead);
    } catch (cause) {
      throw unreadable(this.path, cause);
    }
  }

  private async opened(): Promise<FileHandle> {
    this.handle ??= await open(this.path, 'r');
    return this.handle;
  }
}
