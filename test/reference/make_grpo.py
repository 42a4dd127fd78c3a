"""GRPO as TRL computes it on completions that are given, on the llama3 case's model from its adapter qv, whose B is not zero: advantages, loss,
metrics and gradients of four steps and the adapter after them. Run by make.py after make_models; needs trl beside the rest."""

import inspect
import json
import tempfile

import torch
from datasets import Dataset
from peft import LoraConfig
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
from trl import GRPOConfig, GRPOTrainer

import make_models as models
from make_preferences import EOS, OPTIMIZER, TRAINED, VOCABULARY, plain, tokenizer, words

STEPS, PROMPTS, GENERATIONS, LONGEST = 4, 2, 4, 7
TWICE = {"num_iterations": 2, "epsilon": 0.02}
CASES = [
    *({"loss_type": t} for t in ("dapo", "grpo", "dr_grpo", "bnpo")),
    *({"loss_type": t, **TWICE, "epsilon_high": 0.03, "beta": 0.2} for t in ("dapo", "grpo", "dr_grpo", "bnpo")),
    {"scale_rewards": "batch"},
    {"scale_rewards": "none"},
    {"multi_objective_aggregation": "normalize_then_sum"},
    {"mask_truncated_completions": True, "loss_type": "grpo", "beta": 0.2},
    {"temperature": 0.7, "beta": 0.2, "use_bias_correction_kl": False, **TWICE},
    {"importance_sampling_level": "sequence", "loss_type": "grpo", "beta": 0.2, **TWICE},
    {"delta": 1.01, **TWICE},
]
WEIGHTS = [1.0, 0.5]
KEPT = ["reward", "reward_std", "frac_reward_zero_std", "rewards/first/mean", "rewards/first/std", "rewards/second/mean", "rewards/second/std", "kl",
        "entropy", "clip_ratio/low_mean", "clip_ratio/low_min", "clip_ratio/high_mean", "clip_ratio/high_max", "clip_ratio/region_mean", "completions/mean_length", "completions/min_length",
        "completions/max_length", "completions/clipped_ratio", "completions/mean_terminated_length", "completions/min_terminated_length",
        "completions/max_terminated_length"]


def write(vectors):
    torch.set_num_threads(1)
    folder = vectors / "grpo"
    folder.mkdir(exist_ok=True)
    generator = torch.Generator().manual_seed(500)
    rows = [make_row(generator, i) for i in range(STEPS * PROMPTS)]
    expected, tensors = {"rows": rows, "prompts": PROMPTS, "longest": LONGEST, "weights": WEIGHTS, "optimizer": OPTIMIZER, "cases": []}, {}
    for i, case in enumerate(CASES):
        steps, gradients, trained = train(vectors, case, rows)
        expected["cases"].append({"objective": case, "steps": steps})
        tensors |= {f"{i}.after.{k}": v for k, v in trained.items() if k.startswith(TRAINED)}
        for step in (0, 1):
            tensors |= {f"{i}.grad{step}.{k}": v for k, v in gradients[step].items() if k.startswith(TRAINED)}
        print(" ", case, [s["loss"] for s in steps])
    save_file(tensors, folder / "expected.safetensors", metadata={"format": "pt"})
    (folder / "expected.json").write_text(models.pretty(expected))
    print("grpo done")


def make_row(generator, index):
    """A prompt, completions of which some are cut off, and what two rewards say of them, the second not of all."""
    ids = lambda n: torch.randint(3, VOCABULARY, (n,), generator=generator).tolist()
    length = lambda least, most: torch.randint(least, most + 1, (1,), generator=generator).item()
    prompt = ids(length(2, 8))
    ended = [(index + g) % 3 != 0 for g in range(GENERATIONS)]
    completions = [[*ids(length(1, LONGEST - 1)), EOS] if e else ids(LONGEST) for e in ended]
    first = [round(torch.rand(1, generator=generator).item(), 3) for _ in range(GENERATIONS)]
    if index == 3:
        first = [0.5] * GENERATIONS
    second = [None if (index + g) % 5 == 0 or index == 3 else float(g % 2) for g in range(GENERATIONS)]
    return {"prompt": prompt, "completions": completions, "first": first, "second": second}


def train(vectors, case, rows):
    source = vectors / "llama3"
    options = dict(per_device_train_batch_size=PROMPTS * GENERATIONS, num_generations=GENERATIONS, max_completion_length=LONGEST, max_steps=STEPS,
                   learning_rate=OPTIMIZER["lr"], lr_scheduler_type="constant", adam_beta1=OPTIMIZER["betas"][0], adam_beta2=OPTIMIZER["betas"][1],
                   adam_epsilon=OPTIMIZER["eps"], weight_decay=OPTIMIZER["weight_decay"], max_grad_norm=OPTIMIZER["max_grad_norm"], warmup_steps=0,
                   logging_steps=1, use_cpu=True, bf16=False, fp16=False, report_to=[], save_strategy="no", gradient_checkpointing=False,
                   shuffle_dataset=False, reward_weights=WEIGHTS, disable_tqdm=True)
    by_prompt = {words(row["prompt"]): row for row in rows}
    seen = {"losses": [], "advantages": [], "gradients": []}

    def first(prompts, completions, **kwargs):
        return [by_prompt[p]["first"][i % GENERATIONS] for i, p in enumerate(prompts)]

    def second(prompts, completions, **kwargs):
        return [by_prompt[p]["second"][i % GENERATIONS] for i, p in enumerate(prompts)]

    class Given(GRPOTrainer):
        def _generate_single_turn(self, prompt_ids, *args, **kwargs):
            by_ids = {tuple(row["prompt"]): row for row in rows}
            return [by_ids[tuple(ids)]["completions"][i % GENERATIONS] for i, ids in enumerate(prompt_ids)], None

        def _generate_and_score_completions(self, inputs):
            made = super()._generate_and_score_completions(inputs)
            seen["advantages"].append(made["advantages"].tolist())
            return made

        def training_step(self, model, inputs, num_items_in_batch):
            loss = super().training_step(model, inputs, num_items_in_batch)
            seen["losses"].append(loss.item())
            seen["gradients"].append({plain(k): p.grad.clone() for k, p in self.model.named_parameters() if p.requires_grad})
            return loss

    lora = json.loads((source / "qv" / "adapter_config.json").read_text())
    with tempfile.TemporaryDirectory() as out:
        known = inspect.signature(GRPOConfig).parameters
        assert not options.keys() - known.keys(), options.keys() - known.keys()
        config = GRPOConfig(output_dir=out, **(options | case))
        torch.manual_seed(0)
        base = AutoModelForCausalLM.from_pretrained(source / "model", dtype=torch.float32)
        trainer = Given(model=base, reward_funcs=[first, second], args=config, processing_class=tokenizer(),
                        train_dataset=Dataset.from_list([{"prompt": words(row["prompt"])} for row in rows]),
                        peft_config=LoraConfig(r=lora["r"], lora_alpha=lora["lora_alpha"], target_modules=lora["target_modules"], task_type="CAUSAL_LM"))
        start = {k.removeprefix("base_model.model."): v for k, v in load_file(source / "qv" / "adapter_model.safetensors").items()}
        own = {plain(k): p for k, p in trainer.model.named_parameters() if p.requires_grad}
        assert own.keys() == start.keys(), (sorted(own)[:3], sorted(start)[:3])
        for k, p in own.items():
            p.data.copy_(start[k])
        trainer.train()
        logs = [log for log in trainer.state.log_history if "loss" in log]
        assert len(logs) == len(seen["losses"]) == STEPS
        exact = {plain(k): p.detach().clone() for k, p in trainer.model.named_parameters() if p.requires_grad}
    iterations = case.get("num_iterations", 1)
    steps = [{"loss": loss, "metrics": {k: log[k] for k in KEPT if log.get(k) is not None},
              **({"advantages": seen["advantages"][i // iterations]} if i % iterations == 0 else {})}
             for i, (loss, log) in enumerate(zip(seen["losses"], logs))]
    return steps, seen["gradients"], exact
