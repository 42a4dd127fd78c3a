"""Writes workloads/dense-512.json and workloads/instruct.json: rows of (prompt, completion) lengths in tokens.

dense-512  eight rows of 512 supervised tokens, one a step: how speed tables of training systems are usually taken
instruct   64 rows shaped like instruction data (short prompts, a long tail of completions), four a step, supervised on
           the completion only

Only lengths matter for the cost; whoever runs a workload draws the token ids from its seed.
"""

import json
import math
import pathlib
import random

WORKLOADS = pathlib.Path(__file__).parent / "workloads"
LONGEST = 511


def instruct_rows(seed=7, count=64):
    draw = random.Random(seed)
    rows = []
    for _ in range(count):
        prompt = min(300, max(12, round(math.exp(draw.gauss(3.6, 0.6)))))
        completion = min(LONGEST - prompt, max(4, round(math.exp(draw.gauss(4.3, 0.9)))))
        rows.append([prompt, completion])
    return rows


def write(name, seed, batch_size, rows):
    workload = {"name": name, "seed": seed, "batch_size": batch_size, "rows": rows}
    (WORKLOADS / f"{name}.json").write_text(json.dumps(workload))


if __name__ == "__main__":
    WORKLOADS.mkdir(exist_ok=True)
    write("dense-512", seed=1, batch_size=1, rows=[[0, 512]] * 8)
    write("instruct", seed=7, batch_size=4, rows=instruct_rows())
