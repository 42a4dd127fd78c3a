/** Scales of an adapter that are tried where none are named. */
export const SCALES = [0.5, 0.6, 0.7, 0.8, 0.9, 1] as const;
