"""Preference objectives as TRL computes them, on the llama3 case's model from its adapter qv, whose B is not zero: loss and metrics of four
steps and the adapter after them. Run by make.py after make_models; needs trl beside the rest."""

import inspect
import json
import pathlib
import tempfile

import torch
from datasets import Dataset
from peft import LoraConfig
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

import make_models as models

VOCABULARY, EOS, STEPS, BATCH = 160, 2, 4, 4
OPTIMIZER = {"lr": 2e-3, "betas": [0.9, 0.99], "eps": 1e-6, "weight_decay": 0.01, "max_grad_norm": 1.0}
TRAINED = "model.layers.1."

DPO_TYPES = ["sigmoid", "hinge", "ipo", "sigmoid_norm", "exo_pair", "robust", "nca_pair", "bco_pair", "sppo_hard", "apo_zero", "apo_down"]
LATER_DPO_TYPES = ["aot", "aot_unpaired", "discopop"]
BEFORE = list(range(20, 40))  # so long a prompt is computed once for both answers
CASES = [
    *({"name": "dpo", "beta": 0.1, "loss_type": t} | ({"label_smoothing": 0.1} if t in ("exo_pair", "robust") else {}) for t in DPO_TYPES),
    {"name": "dpo", "beta": 0.3, "loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.5]},
    {"name": "kto", "beta": 0.1, "loss_type": "kto", "desirable_weight": 1.0, "undesirable_weight": 1.5},
    {"name": "kto", "beta": 0.1, "loss_type": "apo_zero_unpaired"},
    {"name": "orpo", "beta": 0.1},
    {"name": "simpo", "beta": 2.5, "gamma": 1.375},
    *({"name": "cpo", "beta": 0.1, "loss_type": t} for t in ("sigmoid", "hinge", "ipo")),
    *({"name": "dpo", "beta": 0.1, "loss_type": t} | ({"label_smoothing": 0.1} if t == "aot" else {}) for t in LATER_DPO_TYPES),
    *({"name": "dpo", "beta": 0.1, "loss_type": t, "before": BEFORE} for t in ("sigmoid", "ipo")),
    {"name": "orpo", "beta": 0.1, "before": BEFORE},
]
KEPT = ["rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins", "logps/chosen", "logps/rejected", "kl", "nll_loss",
        "log_odds_ratio", "log_odds_chosen"]


def write(vectors):
    torch.set_num_threads(1)
    folder = vectors / "preferences"
    folder.mkdir(exist_ok=True)
    generator = torch.Generator().manual_seed(400)
    rows = [make_row(generator, i) for i in range(STEPS * BATCH)]
    expected, tensors = {"rows": rows, "batch": BATCH, "optimizer": OPTIMIZER, "cases": []}, {}
    for i, case in enumerate(CASES):
        steps, trained = train(vectors, case, rows)
        expected["cases"].append({"objective": case, "steps": steps})
        tensors |= {f"{i}.{k}": v for k, v in trained.items() if k.startswith(TRAINED)}
        print(" ", case, [round(s["loss"], 5) for s in steps])
    save_file(tensors, folder / "expected.safetensors", metadata={"format": "pt"})
    (folder / "expected.json").write_text(models.pretty(expected))
    print("preferences done")


def make_row(generator, index):
    """A prompt and two answers, each ended with EOS, of other lengths in every row; half of the rows are good by themselves."""
    ids = lambda n: torch.randint(3, VOCABULARY, (n,), generator=generator).tolist()
    lengths = torch.randint(2, 9, (3,), generator=generator).tolist()
    return {"prompt": ids(lengths[0]), "chosen": [*ids(lengths[1]), EOS], "rejected": [*ids(lengths[2]), EOS], "label": index % 3 != 1}


def words(ids):
    return "".join(f" <{i}>" for i in ids)


def tokenizer():
    """Token i is the word <i>."""
    inner = Tokenizer(WordLevel({f"<{i}>": i for i in range(VOCABULARY)}, unk_token="<0>"))
    inner.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token=f"<{EOS}>", pad_token="<0>", unk_token="<0>")


def train(vectors, case, rows):
    source = vectors / "llama3"
    settings = {k: v for k, v in case.items() if k not in ("name", "before")}
    rows = [row | {"prompt": [*case.get("before", []), *row["prompt"]]} for row in rows]
    options = dict(per_device_train_batch_size=BATCH, max_steps=STEPS, learning_rate=OPTIMIZER["lr"], lr_scheduler_type="constant",
                   adam_beta1=OPTIMIZER["betas"][0], adam_beta2=OPTIMIZER["betas"][1], adam_epsilon=OPTIMIZER["eps"],
                   weight_decay=OPTIMIZER["weight_decay"], max_grad_norm=OPTIMIZER["max_grad_norm"], warmup_steps=0, logging_steps=1, use_cpu=True,
                   bf16=False, fp16=False, report_to=[], save_strategy="no", gradient_checkpointing=False, max_length=64,
                   train_sampling_strategy="sequential", disable_tqdm=True)
    pairs = [{k: words(row[k]) for k in ("prompt", "chosen", "rejected")} for row in rows]
    if case["name"] == "dpo":
        kinds = (DPOConfig, DPOTrainer)
    elif case["name"] == "kto":
        kinds = (KTOConfig, KTOTrainer)
        pairs = [{"prompt": words(r["prompt"]), "completion": words(r["chosen"] if r["label"] else r["rejected"]), "label": r["label"]} for r in rows]
    elif case["name"] == "orpo":
        kinds = (ORPOConfig, ORPOTrainer)
    else:
        kinds = (CPOConfig, CPOTrainer)
        if case["name"] == "simpo":
            settings = {"loss_type": "simpo", "beta": case["beta"], "simpo_gamma": case["gamma"], "cpo_alpha": 0.0}
    Config, Trainer = kinds
    known = inspect.signature(Config).parameters
    lora = json.loads((source / "qv" / "adapter_config.json").read_text())
    with tempfile.TemporaryDirectory() as out:
        config = Config(output_dir=out, **{k: v for k, v in options.items() if k in known}, **settings)
        torch.manual_seed(0)
        base = AutoModelForCausalLM.from_pretrained(source / "model", dtype=torch.float32)
        trainer = Trainer(model=base, args=config, train_dataset=Dataset.from_list(pairs), processing_class=tokenizer(),
                          peft_config=LoraConfig(r=lora["r"], lora_alpha=lora["lora_alpha"], target_modules=lora["target_modules"], task_type="CAUSAL_LM"))
        start = {k.removeprefix("base_model.model."): v for k, v in load_file(source / "qv" / "adapter_model.safetensors").items()}
        own = {plain(k): p for k, p in trainer.model.named_parameters() if p.requires_grad}
        assert own.keys() == start.keys(), (sorted(own)[:3], sorted(start)[:3])
        for k, p in own.items():
            p.data.copy_(start[k])
        trainer.train()
        logs = [log for log in trainer.state.log_history if "loss" in log]
        assert len(logs) == STEPS
        exact = {plain(k): p.detach().clone() for k, p in trainer.model.named_parameters() if p.requires_grad}
    idle = {"apo_zero_unpaired": "kl", "simpo": "nll_loss"}.get(str(settings.get("loss_type")))  # not computed, logged as 0
    return [{"loss": log["loss"], "metrics": {k: log[k] for k in KEPT if k in log and k != idle}} for log in logs], exact


def plain(name):
    return models.plain(name.removeprefix("module."))
