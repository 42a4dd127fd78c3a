/** Milliseconds that a step waits for those who were in the last one and have not asked for the next yet. */
const PATIENCE = 5;

/**
 * Joins what many ask for into steps: one step at a time is under way, and whoever asks meanwhile is in the next. A step waits
 * for those of the last one to come back, who need a moment to choose their token, but not for long: one who reads slowly
 * misses a step and holds up nobody.
 */
export class StepQueue<Who, Question, Answer> {
  private readonly run: (asked: ReadonlyMap<Who, Question>) => Promise<ReadonlyMap<Who, Answer>>;
  private asked = new Map<Who, { question: Question; resolve: (a: Answer) => void; reject: (e: unknown) => void }>();
  private readonly awaited = new Set<Who>();
  private underWay = false;
  private timer: ReturnType<typeof setTimeout> | undefined;

  /** `run` answers everybody in its map, or throws. */
  constructor(run: (asked: ReadonlyMap<Who, Question>) => Promise<ReadonlyMap<Who, Answer>>) {
    this.run = run;
  }

  /** Takes part in the next step. One question at a time for each who. Rejects with what the step throws. */
  ask(who: Who, question: Question): Promise<Answer> {
    const answer = new Promise<Answer>((resolve, reject) => this.asked.set(who, { question, resolve, reject }));
    this.awaited.delete(who);
    this.consider();
    return answer;
  }

  /** Asks for no more: nobody waits for it. */
  leave(who: Who): void {
    this.awaited.delete(who);
    this.consider();
  }

  private consider(): void {
    if (this.underWay || this.asked.size === 0) return;
    if (this.awaited.size > 0) {
      this.timer ??= setTimeout(() => {
        this.awaited.clear();
        this.timer = undefined;
        this.consider();
      }, PATIENCE);
      return;
    }
    clearTimeout(this.timer);
    this.timer = undefined;
    void this.step();
  }

  private async step(): Promise<void> {
    const asked = this.asked;
    this.asked = new Map();
    this.underWay = true;
    try {
      const answers = await this.run(new Map([...asked].map(([who, { question }]) => [who, question])));
      for (const [who, { resolve }] of asked) {
        this.awaited.add(who);
        resolve(answers.get(who)!);
      }
    } catch (error) {
      for (const { reject } of asked.values()) reject(error);
    }
    this.underWay = false;
    this.consider();
  }
}
