/** Whether a system loads what was exported, and how or why not. */
export interface SystemVerdict {
  readonly system: string;
  readonly loads: boolean;
  readonly how: string;
}

export const loads = (system: string, how: string): SystemVerdict => ({ system, loads: true, how });
export const refuses = (system: string, how: string): SystemVerdict => ({ system, loads: false, how });
