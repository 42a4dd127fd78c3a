/** Numbers as people read them. */

export function bytes(count: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const power = count < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(count) / 3));
  const value = count / 1000 ** power;
  return `${power === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[power]}`;
}

export const whole = (count: number): string => Math.round(count).toLocaleString("en-US");

/** 1.2 million. */
export function large(count: number): string {
  if (count >= 1e9) return `${(count / 1e9).toFixed(2)} billion`;
  if (count >= 1e6) return `${(count / 1e6).toFixed(count >= 1e8 ? 0 : 1)} million`;
  return whole(count);
}

export function seconds(count: number): string {
  if (count < 10) return `${count.toFixed(1)} s`;
  if (count < 90) return `${Math.round(count)} s`;
  if (count < 5400) return `${Math.round(count / 60)} min`;
  return `${(count / 3600).toFixed(1)} h`;
}

/** A loss or rate, short. */
export function figure(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  return Math.abs(value) < 0.01 ? value.toExponential(1) : value.toPrecision(4).replace(/\.?0+$/, "");
}

export function when(time: number | null): string {
  if (time === null) return "–";
  return new Date(time).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
}

/** The last name of a path. */
export const lastName = (path: string): string => path.replace(/\/+$/, "").replace(/^.*\//, "");
