import process from "node:process";
import { packageRequire } from "./package.js";

/** A C function as JavaScript calls it; `async` runs it in another thread and tells the last argument. */
export interface CFunction {
  (...args: unknown[]): unknown;
  async(...args: unknown[]): void;
}

/** A C library that is loaded. */
export interface Library {
  func(name: string, result: string, parameters: readonly unknown[]): CFunction;
  /** Where an exported object lies. */
  symbol(name: string, type: string): bigint;
}

/** What is used of koffi (https://koffi.dev): calls into C libraries. Types are given as C writes them, or as koffi's own. */
export interface Koffi {
  /** `global`: what the library exports is found by libraries that are loaded later. Default false. */
  load(path: string, options?: { readonly global?: boolean }): Library;
  /** A type without a name: those of names are the process's, and can be defined once. */
  proto(result: string, parameters: readonly string[]): unknown;
  call(address: unknown, proto: unknown, ...args: unknown[]): unknown;
  decode(address: unknown, type: string, length?: number): unknown;
  decode(address: unknown, offset: number, type: string): unknown;
  struct(fields: Readonly<Record<string, string>>): unknown;
  address(data: ArrayBufferView): bigint;
}

/**
 * koffi's library for this platform, a package without an install script (`koffi` itself, which has one, only adds warnings
 * about names that are going away). Throws Error where there is none for this platform or it was not installed.
 */
export const loadKoffi = (): Koffi => packageRequire(packageName()) as Koffi;

/** Whether `loadKoffi` finds a library to load. */
export function hasKoffi(): boolean {
  try {
    return Boolean(packageRequire.resolve(packageName()));
  } catch {
    return false;
  }
}

const packageName = (): string => `@koromix/koffi-${process.platform}-${process.arch}`;
