import type { z } from "zod";
import type { StudioContext } from "./context.js";

/** Something that the studio's page asks for, answered at once: a file of `routes/`. Requests and replies are plain JSON in snake_case. */
export interface Call<Asked extends z.ZodObject, Reply> {
  /** What it does, for docs. */
  readonly summary: string;
  readonly request: Asked;
  /** Throws UserError and ApiError. */
  answer(studio: StudioContext, request: z.output<Asked>, signal: AbortSignal): Promise<Reply>;
}

/** The same, answered event by event; a signal that is aborted ends it. */
export interface Stream<Asked extends z.ZodObject, Event> {
  readonly summary: string;
  readonly request: Asked;
  events(studio: StudioContext, request: z.output<Asked>, signal: AbortSignal): AsyncGenerator<Event, void>;
}

/** A call as it is written; the function keeps its types. */
export const call = <Asked extends z.ZodObject, Reply>(entry: Call<Asked, Reply>): Call<Asked, Reply> => entry;

/** A stream as it is written. */
export const stream = <Asked extends z.ZodObject, Event>(entry: Stream<Asked, Event>): Stream<Asked, Event> => entry;
