import { z } from "zod";
import { parseBody } from "../fields.js";

/** Endpoints that a batch may ask. */
const ENDPOINTS = ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings"] as const;

export const batchBody = z.strictObject({
  input_file_id: z.string("expected the id of a file of purpose 'batch'"),
  endpoint: z.enum(ENDPOINTS, `expected one of ${ENDPOINTS.join(", ")}`),
  completion_window: z.literal("24h", "expected '24h'"),
  metadata: z
    .record(z.string().max(64), z.string().max(512), "expected at most 16 texts by name")
    .refine((given) => Object.keys(given).length <= 16, "expected at most 16 texts by name")
    .optional(),
});

/** What a client asks of a batch. */
export type BatchOrder = Pick<z.output<typeof batchBody>, "input_file_id" | "endpoint"> & {
  readonly metadata: Readonly<Record<string, string>> | null;
};

/** Reads the body of POST /v1/batches. Throws ApiError naming the field that is wrong or not supported. */
export function readBatchOrder(body: Record<string, unknown>): BatchOrder {
  const { metadata = null, ...order } = parseBody(batchBody, body, {});
  return { ...order, metadata };
}
