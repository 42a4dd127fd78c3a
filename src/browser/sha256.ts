import { sha256 } from "@noble/hashes/sha2.js";

/** Bytes hashed between two turns of the event loop. */
const CHUNK = 2 ** 20;

const hex = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

/** A hash that is told its bytes part by part: what the browser has of its own takes a file whole, in memory. */
export function createSha256(): { update(bytes: Uint8Array): void; digest(): string } {
  const hash = sha256.create();
  return {
    update: (bytes) => void hash.update(bytes),
    digest: () => hex(hash.digest()),
  };
}

/** SHA-256 of a file's bytes, lower-case hex. */
export async function sha256Of(file: Blob): Promise<string> {
  const hash = createSha256();
  for (let at = 0; at < file.size; at += CHUNK)
    hash.update(new Uint8Array(await file.slice(at, at + CHUNK).arrayBuffer()));
  return hash.digest();
}
