import { z } from "zod";
import { rendered, tokensOf } from "../../recipes/tokenize.js";
import { checkModel, leaseOf, type Service, withDeadline } from "../answer.js";
import { flag, parseBody, refused, type UnusedFields } from "../fields.js";
import type { ServerLimits } from "../limits.js";
import { readMessages } from "../messages.js";
import { readJson } from "../read-json.js";
import type { Core, Handler, Routes } from "../route.js";
import { templateArguments } from "../schema.js";

const tokenizeBody = z.strictObject({
  model: z.string("expected the name of a model").optional(),
  prompt: z.string("expected a text").optional(),
  messages: z.array(z.unknown(), "expected a list of messages").optional(),
  tools: z.array(z.looseObject({}, "expected an object"), "expected a list of objects").optional(),
  chat_template_kwargs: templateArguments.optional(),
  add_generation_prompt: flag.default(true),
  add_special_tokens: flag.optional(),
  return_token_strs: flag.default(false),
});

const detokenizeBody = z.strictObject({
  model: z.string("expected the name of a model").optional(),
  tokens: z.array(z.int().min(0), "expected a list of token ids"),
});

const UNUSED_HERE: UnusedFields = {
  chat_template: { neutral: () => false, why: "the template is the one that was saved with the model" },
  continue_final_message: { neutral: (value) => value === false, why: "only false is supported" },
};

/** Text to token ids and back, as vLLM has it; without a `model` they are the base's. */
export function tokenRoutes({ service }: Core): Routes {
  return {
    "POST /tokenize": {
      summary: "Turns a text or messages into token ids",
      body: () => tokenizeBody,
      handle: async (c) => {
        const body = parseBody(tokenizeBody, await readJson(c.req.raw, service.limits), UNUSED_HERE);
        const { signal, done } = withDeadline(c.req.raw.signal, service.limits);
        try {
          return c.json(await tokenized(service, body, signal));
        } finally {
          done();
        }
      },
    },
    "POST /detokenize": {
      summary: "Turns token ids into text",
      body: () => detokenizeBody,
      handle: detokenize(service),
    },
  };
}

async function tokenized(service: Service, body: z.output<typeof tokenizeBody>, signal: AbortSignal): Promise<object> {
  const { registry, limits } = service;
  const { tokenizer, resident } = registry.model;
  const text = await textOf(service, body, limits);
  const addSpecialTokens = body.add_special_tokens ?? body.messages === undefined;
  const { ids } = await tokensOf(tokenizer, text, { addSpecialTokens, signal });
  return {
    count: ids.length,
    max_model_len: resident.config.maxPositionEmbeddings,
    tokens: ids,
    token_strs: body.return_token_strs ? ids.map((id) => tokenizer.token(id) ?? null) : null,
  };
}

/** The text that is meant: the prompt, or messages as the model's own template writes them. */
async function textOf(service: Service, body: z.output<typeof tokenizeBody>, limits: ServerLimits): Promise<string> {
  const { registry, baseId } = service;
  const { prompt, messages: list, tools, chat_template_kwargs, add_generation_prompt } = body;
  const asked = { model: body.model ?? baseId, adapterScale: undefined };
  checkModel(registry, baseId, asked);
  if (prompt !== undefined && list) throw refused("messages", "give either messages or a prompt", "invalid_value");
  if (prompt !== undefined) return prompt;
  if (!list) throw refused("prompt", "is missing; expected a text, or messages", "missing_required_parameter");
  const lease = leaseOf(service, asked);
  try {
    const chat = (lease?.adapter.chat ?? registry.model.chat)();
    return await rendered(chat, {
      messages: readMessages(list, limits.messages),
      addGenerationPrompt: add_generation_prompt,
      ...(tools ? { tools } : {}),
      ...(chat_template_kwargs ? { chatTemplateKwargs: chat_template_kwargs } : {}),
    });
  } finally {
    lease?.release();
  }
}

function detokenize({ registry, baseId, limits }: Service): Handler {
  return async (c) => {
    const { tokens, model = baseId } = parseBody(detokenizeBody, await readJson(c.req.raw, limits), {});
    checkModel(registry, baseId, { model, adapterScale: undefined });
    const { tokenizer } = registry.model;
    const unknown = tokens.find((id) => tokenizer.token(id) === undefined);
    if (unknown !== undefined) throw refused("tokens", `${unknown} is no token of this model`, "invalid_value");
    return c.json({ prompt: tokenizer.decode(tokens, { skipSpecialTokens: false }) });
  };
}
