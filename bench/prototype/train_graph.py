"""The baseline of the training engine: one LoRA step (loss and every adapter gradient) as a single ONNX graph in Python.

    python train_graph.py [--seq 512] [--batch 1] [--supervised 1.0] [--threads 2] [--shape smollm2-135m] [--runs 4]

Prints one JSON line; tokens_per_second is the fastest run's. The product must be neither slower nor larger than this.
"""

import argparse
import json
import resource
import time

import numpy as np
from graph import Graph
from llama import SHAPES, Layer, Model, Sizes
from onnx import numpy_helper


def build(graph, sizes, supervised):
    """Adds the whole step to `graph`: first output the loss, then dA, dB of each adapter from the last layer down."""
    op = graph.op
    model = Model(graph, sizes)
    ids = graph.input("ids", model.random.integers(0, sizes.vocabulary, (sizes.tokens,)))
    labels = graph.input("labels", model.random.integers(0, sizes.vocabulary, (supervised,)))
    rows = None
    if supervised < sizes.tokens:  # only supervised positions ever reach the vocabulary
        rows = graph.input("rows", np.sort(model.random.choice(sizes.tokens, supervised, replace=False)))
    embedding = graph.input("embedding", model.normal(sizes.vocabulary, sizes.hidden))
    layers = [Layer(model, i) for i in range(sizes.layers)]

    x = op("Gather", embedding, ids)
    for layer in layers:
        x = layer.forward(x)
    if rows:
        x = op("Gather", x, rows)
    x, saved = model.rms(x, graph.input("final_norm", np.ones(sizes.hidden, "f")))
    p = op("Softmax", graph.matmul(x, embedding, transpose_y=1), axis=-1)
    picked = op("GatherElements", p, op("Unsqueeze", labels, model.last), axis=1)
    graph.output(op("ReduceMean", op("Neg", op("Log", picked)), keepdims=0))

    # (P - onehot) E = P E - E[labels]: no one-hot and no extra pass over the logits
    g = op("Sub", graph.matmul(p, embedding), op("Gather", embedding, labels))
    g = model.rms_grad(op("Mul", g, graph.constant(np.float32(1 / supervised))), saved)
    if rows:
        shape = graph.constant(np.array([sizes.tokens, sizes.hidden], np.int64))
        zeros = op("ConstantOfShape", shape, value=numpy_helper.from_array(np.zeros(1, "f")))
        g = op("ScatterND", zeros, op("Unsqueeze", rows, model.last), g)
    for layer in reversed(layers):
        g = layer.backward(g)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seq", type=int, default=512)
    p.add_argument("--batch", type=int, default=1)
    p.add_argument("--supervised", type=float, default=1.0, help="share of the tokens that are targets")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--shape", default="smollm2-135m", choices=SHAPES)
    p.add_argument("--runs", type=int, default=4)
    args = p.parse_args()

    sizes = Sizes(args.batch, args.seq, *SHAPES[args.shape])
    graph = Graph()
    build(graph, sizes, int(sizes.tokens * args.supervised))
    began = time.perf_counter()
    run = graph.compile(args.threads)
    built = time.perf_counter() - began
    loss = float(run()[0])
    seconds = []
    for _ in range(args.runs):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    print(json.dumps({
        "system": "prototype", "shape": args.shape, "dtype": "float32", "batch": args.batch, "seq": args.seq,
        "supervised": args.supervised, "loss": round(loss, 5), "session_seconds": round(built, 2), "nodes": len(graph.nodes),
        "tokens_per_second": round(sizes.tokens / min(seconds), 1),
        "peak_rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }))


if __name__ == "__main__":
    main()
