import { expect, test } from "vitest";
import { memoryFiles } from "./memory-files.js";
import { modelCard, writtenCard } from "./model-card.js";
import { type Adapter, writeAdapter } from "./peft/adapter.js";

const adapter: Adapter = {
  config: { r: 1, alpha: 1, dropout: 0, useRslora: false, init: "gaussian", targetModules: ["q_proj"] },
  tensors: new Map(),
  base: { name: "owner/base" },
};

test("a card has the metadata that PEFT gives one, settings, results and versions", async () => {
  const card = await modelCard({
    base: "owner/base-1B",
    hyperparameters: { "lora.r": 8, "lora.target_modules": ["q_proj", "v_proj"], "data.train": "a|b.jsonl" },
    results: { loss: 1.5, "validation loss": undefined },
    versions: { lowrank: "1.2.3" },
  });
  expect(card.replace(/sha256:\w+/, "sha256:X")).toMatchInlineSnapshot(`
    "---
    base_model: owner/base-1B
    library_name: peft
    license: unknown
    pipeline_tag: text-generation
    tags:
    - base_model:adapter:owner/base-1B
    - lora
    - lowrank
    - transformers
    ---

    # LoRA adapter of owner/base-1B

    Trained or written by [lowrank](https://www.npmjs.com/package/lowrank), in PEFT's form.

    \`\`\`python
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("owner/base-1B"), "ADAPTER")
    tokenizer = AutoTokenizer.from_pretrained("ADAPTER")
    \`\`\`

    ## Training procedure

    | setting | value |
    | --- | --- |
    | lora.r | 8 |
    | lora.target\\_modules | \\["q\\_proj","v\\_proj"\\] |
    | data.train | a\\|b.jsonl |

    ## Results

    | measure | value |
    | --- | --- |
    | loss | 1.5 |

    ### Framework versions

    - PEFT 0.7 and newer read this adapter
    - lowrank 1.2.3

    <!-- card sha256:X -->
    "
  `);
});

test("names that YAML or Markdown would read otherwise are quoted", async () => {
  const card = await modelCard({ base: 'my "model": <b>*x*' });
  expect(card).toContain('base_model: "my \\"model\\": <b>*x*"');
  expect(card).toContain('- "base_model:adapter:my \\"model\\": <b>*x*"');
  expect(card).toContain('# LoRA adapter of my "model": \\<b\\>\\*x\\*');
  expect(await modelCard({ base: undefined })).not.toContain("base_model");
});

test("a card is written anew until somebody edits it, or has written another; then it stays", async () => {
  const files = memoryFiles();
  const [first, second] = [await modelCard({ base: "a/b" }), await modelCard({ base: "a/c" })];
  await writeAdapter(files, "x", adapter, { card: first });
  await writeAdapter(files, "x", adapter, { card: second });
  const read = async () => new TextDecoder().decode(await files.read("x/README.md"));
  expect(await read()).toBe(second);
  expect(await writtenCard(files, "x")).toBeUndefined();
  for (const own of [second.replace("unknown", "mit"), "# mine\n", `${second}more`]) {
    await files.write("x/README.md", own);
    await writeAdapter(files, "x", adapter, { card: first });
    expect(await read()).toBe(own);
    await writeAdapter(files, "x", adapter);
    expect(await read()).toBe(own);
  }
});
