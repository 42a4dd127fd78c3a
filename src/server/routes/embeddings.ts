import { z } from "zod";
import { checkDimensions, embed } from "../../recipes/embed.js";
import type { EncodedPrompt } from "../../recipes/generate.js";
import { checkModel, leaseOf, type Service, type Usage } from "../answer.js";
import { asking } from "../asking.js";
import { number, parseBody, refused, type UnusedFields, whole } from "../fields.js";
import type { Core, Routes } from "../route.js";
import { prompts } from "../schema.js";

/** Inputs of one request at most, as OpenAI has it. */
const MOST_INPUTS = 2048;

const embeddingsBody = z.strictObject({
  model: z.string("expected the name of a model; GET /v1/models lists them"),
  input: prompts,
  dimensions: whole(1).optional(),
  encoding_format: z.enum(["float", "base64"], "expected 'float' or 'base64'").default("float"),
  adapter_scale: number(-100, 100).optional(),
});

const UNUSED_HERE: UnusedFields = {
  user: { neutral: (value) => typeof value === "string", why: "expected a text" },
  input_type: { neutral: () => false, why: "a text is embedded as it is; write an instruction into it" },
};

/** Texts as vectors. */
export function embeddingRoutes(core: Core): Routes {
  return {
    "POST /v1/embeddings": {
      summary: "Embeds texts, or token ids",
      body: () => embeddingsBody,
      handle: asking(core, readEmbeddings, async ({ c, ready: { asked, prompts }, signal }) =>
        c.json(await embedded(core.service, asked, prompts, { signal, usage: c.get("entry").usage })),
      ),
    },
  };
}

type Asked = ReturnType<typeof readEmbeddings>;

function readEmbeddings(body: Record<string, unknown>) {
  const { input, adapter_scale: adapterScale, ...rest } = parseBody(embeddingsBody, body, UNUSED_HERE);
  if (input.length > MOST_INPUTS) throw refused("input", `at most ${MOST_INPUTS} texts a request`, "invalid_value");
  return { ...rest, prompts: input, adapterScale };
}

/** The reply: in a slot of the server's, one text after the other. */
async function embedded(
  service: Service,
  asked: Asked,
  prompts: readonly EncodedPrompt[],
  { signal, usage }: { readonly signal: AbortSignal; readonly usage: Usage },
): Promise<object> {
  const { registry, baseId, slots } = service;
  const { model, dimensions, encoding_format: format } = asked;
  checkDimensions(registry.model, dimensions);
  const free = await slots.acquire(signal);
  try {
    checkModel(registry, baseId, asked);
    const lease = leaseOf(service, asked);
    try {
      const data: object[] = [];
      for (const [index, prompt] of prompts.entries()) {
        const options = { adapter: lease?.adapter, dimensions, signal };
        const { embedding, promptIds } = await embed(registry.model, prompt, options);
        usage.promptTokens += promptIds.length;
        data.push({ object: "embedding", index, embedding: format === "base64" ? base64(embedding) : [...embedding] });
      }
      const tokens = usage.promptTokens;
      return { object: "list", data, model, usage: { prompt_tokens: tokens, total_tokens: tokens } };
    } finally {
      lease?.release();
    }
  } finally {
    free();
  }
}

/** Numbers as the bytes of 32-bit floats, the lowest byte first, in base64. */
function base64(numbers: Float32Array): string {
  const bytes = new DataView(new ArrayBuffer(4 * numbers.length));
  for (const [i, value] of numbers.entries()) bytes.setFloat32(4 * i, value, true);
  let text = "";
  for (let i = 0; i < bytes.byteLength; i++) text += String.fromCharCode(bytes.getUint8(i));
  return btoa(text);
}
