"""PyTorch's side of the training benchmark: LoRA steps with transformers + PEFT over one workload, one JSON line out.

    python peft_bench.py --workload workloads/instruct.json --dtype float32 [--rank 8] [--targets q_proj,v_proj]
                         [--shape smollm2-135m] [--threads 2] [--checkpointing] [--compile] [--steps N]

A step is forward, backward, clipping to norm 1, AdamW. Batches are padded to their longest row, as the usual collator
does; tokens_per_second counts real tokens only. The first step warms up and is left out of the rates. peak_rss: bytes.
"""

import argparse
import json
import random
import resource
import statistics
import time

STARTED = time.perf_counter()

import torch  # noqa: E402 (importing is part of the time to the first step)
from peft import LoraConfig, get_peft_model  # noqa: E402
from transformers import ModelConfig, LlamaForCausalLM  # noqa: E402

SHAPES = {
    "smollm2-135m": dict(vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
                         num_attention_heads=9, num_key_value_heads=3, tie_word_embeddings=True),
    "smollm2-360m": dict(vocab_size=49152, hidden_size=960, intermediate_size=2560, num_hidden_layers=32,
                         num_attention_heads=15, num_key_value_heads=5, tie_word_embeddings=True),
    "tinyllama-1.1b": dict(vocab_size=32000, hidden_size=2048, intermediate_size=5632, num_hidden_layers=22,
                           num_attention_heads=32, num_key_value_heads=4, tie_word_embeddings=False),
}
IGNORED = -100  # the label that Hugging Face's loss skips


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--workload", required=True)
    p.add_argument("--dtype", default="float32")
    p.add_argument("--rank", type=int, default=8)
    p.add_argument("--targets", default="q_proj,v_proj")
    p.add_argument("--shape", default="smollm2-135m", choices=SHAPES)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--steps", type=int, default=0, help="0: one pass over the workload")
    p.add_argument("--checkpointing", action="store_true")
    p.add_argument("--compile", action="store_true")
    return p.parse_args()


def build(args):
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    torch.set_default_dtype(getattr(torch, args.dtype))
    model = LlamaForCausalLM(ModelConfig(max_position_embeddings=8192, **SHAPES[args.shape]))
    torch.set_default_dtype(torch.float32)
    if args.checkpointing:
        model.gradient_checkpointing_enable()
        model.enable_input_require_grads()
    lora = LoraConfig(r=args.rank, lora_alpha=2 * args.rank, lora_dropout=0.0, target_modules=args.targets.split(","),
                      task_type="CAUSAL_LM")
    return get_peft_model(model, lora).train()


def read_batches(workload, vocab_size):
    """Lists of (token ids, prompt length), `batch_size` rows each; ids drawn from the workload's seed."""
    draw = random.Random(workload["seed"])
    rows = [([draw.randrange(vocab_size) for _ in range(prompt + completion)], prompt) for prompt, completion in workload["rows"]]
    size = workload["batch_size"]
    return [rows[i : i + size] for i in range(0, len(rows), size)]


def collate(batch):
    longest = max(len(ids) for ids, _ in batch)
    input_ids = torch.zeros(len(batch), longest, dtype=torch.long)
    attention_mask = torch.zeros_like(input_ids)
    labels = torch.full_like(input_ids, IGNORED)
    for i, (ids, prompt) in enumerate(batch):
        input_ids[i, : len(ids)] = torch.tensor(ids)
        attention_mask[i, : len(ids)] = 1
        labels[i, prompt : len(ids)] = torch.tensor(ids[prompt:])
    return dict(input_ids=input_ids, attention_mask=attention_mask, labels=labels)


def main():
    args = arguments()
    model = build(args)
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=3e-4, weight_decay=0.01)
    forward = torch.compile(model, dynamic=True) if args.compile else model
    workload = json.load(open(args.workload))
    batches = read_batches(workload, SHAPES[args.shape]["vocab_size"])
    steps = args.steps or len(batches)

    ends, seconds, tokens, losses = [], [], [], []
    for step in range(steps + 1):
        batch = batches[step % len(batches)]
        began = time.perf_counter()
        loss = forward(**collate(batch)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trainable, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        ends.append(time.perf_counter())
        seconds.append(ends[-1] - began)
        tokens.append(sum(len(ids) for ids, _ in batch))

    print(json.dumps({
        "system": "peft", "workload": workload["name"], "shape": args.shape, "dtype": args.dtype, "rank": args.rank,
        "targets": args.targets, "checkpointing": args.checkpointing, "compile": args.compile, "steps": steps,
        "tokens_per_second": round(sum(tokens[1:]) / sum(seconds[1:]), 1),
        "step_seconds_median": round(statistics.median_high(seconds[1:]), 3),
        "seconds_to_first_step": round(ends[0] - STARTED, 2),
        "peak_rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "first_loss": round(losses[0], 4), "last_loss": round(losses[-1], 4),
    }))


if __name__ == "__main__":
    main()
