import type { Message } from "../../tokenizers/chat-template.js";
import { ApiError } from "../errors.js";
import type { ServerLimits } from "../limits.js";
import type { InputItem, ResponseObject } from "./wire.js";

/** A response that can be gone on from. */
export interface KeptResponse {
  readonly response: ResponseObject;
  readonly input: readonly InputItem[];
  /** The whole conversation with the answer, without instructions. */
  readonly messages: readonly Message[];
}

/** Responses in memory: those not used for longest are forgotten when they are too many or too long. */
export interface ResponseStore {
  keep(kept: KeptResponse): void;
  get(id: string): KeptResponse | undefined;
  /** An item of an answer, by its id. */
  item(id: string): unknown;
  remove(id: string): boolean;
}

export function createResponseStore({
  responses: most,
  responseBytes: mostBytes,
}: Pick<ServerLimits, "responses" | "responseBytes">): ResponseStore {
  /** The one used last at the end. */
  const all = new Map<string, { readonly kept: KeptResponse; readonly bytes: number }>();
  let sum = 0;
  const remove = (id: string): boolean => {
    sum -= all.get(id)?.bytes ?? 0;
    return all.delete(id);
  };
  const keep = (kept: KeptResponse) => {
    const { id } = kept.response;
    const bytes = 2 * JSON.stringify(kept).length;
    remove(id);
    all.set(id, { kept, bytes });
    sum += bytes;
    for (const oldest of all.keys()) {
      if (all.size <= most && sum <= mostBytes) break;
      remove(oldest);
    }
  };
  return {
    keep,
    get(id) {
      const found = all.get(id);
      if (!found) return undefined;
      all.delete(id);
      all.set(id, found);
      return found.kept;
    },
    item(id) {
      for (const { kept } of all.values()) {
        const found = [...kept.response.output, ...kept.input].find((item) => item.id === id);
        if (found) return found;
      }
      return undefined;
    },
    remove,
  };
}

/** A kept response. Throws ApiError 404 when it is none, or is no longer kept. */
export function keptResponse(store: ResponseStore, id: string): KeptResponse {
  const found = store.get(id);
  if (found) return found;
  throw new ApiError(404, `there is no response '${id.slice(0, 100)}'; ${FORGOTTEN}`, { code: "response_not_found" });
}

/** Why a response may be gone. */
export const FORGOTTEN =
  "responses are kept in memory, the newest of them, unless store is false; send the conversation as input instead";
