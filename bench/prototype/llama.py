"""A Llama with LoRA on q and v as forward and backward formulas, written by hand as one inference graph."""

from dataclasses import dataclass

import numpy as np
from graph import MICROSOFT, Graph

RANK, EPSILON = 8, 1e-5
SCALE = 16 / RANK  # alpha / r
SHAPES = {  # vocabulary, hidden, intermediate, layers, heads, key-value heads
    "smollm2-135m": (49152, 576, 1536, 30, 9, 3),
    "tiny": (512, 128, 256, 2, 4, 2),
}


@dataclass
class Sizes:
    batch: int
    length: int
    vocabulary: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int

    def __post_init__(self):
        self.head = self.hidden // self.heads
        self.group = self.heads // self.kv_heads
        self.tokens = self.batch * self.length


class Model:
    """What every layer shares: sizes, random weights, rotary tables, the causal mask."""

    def __init__(self, graph: Graph, sizes: Sizes, seed=0):
        self.graph, self.sizes = graph, sizes
        self.random = np.random.default_rng(seed)
        angle = np.arange(8192)[:, None] / 10000 ** (np.arange(0, sizes.head, 2) / sizes.head)
        self.cos, self.sin, self.minus_sin = (graph.constant(t.astype("f")) for t in (np.cos(angle), np.sin(angle), -np.sin(angle)))
        self.positions = graph.input("positions", np.tile(np.arange(sizes.length), (sizes.batch, 1)))
        self.mask = graph.constant(np.triu(np.full((sizes.length, sizes.length), -1e9, "f"), 1)[None, None])
        self.one, self.last = graph.constant(np.float32(1)), graph.constant(np.array([-1], np.int64))
        self.epsilon = graph.constant(np.float32(EPSILON))

    def normal(self, *shape):
        return (self.random.standard_normal(shape) * 0.02).astype("f")

    def rms(self, x, w):
        op = self.graph.op
        mean = op("ReduceMean", op("Mul", x, x), self.last, keepdims=1)
        inverse = op("Reciprocal", op("Sqrt", op("Add", mean, self.epsilon)))
        return op("SimplifiedLayerNormalization", x, w, epsilon=EPSILON, axis=-1), (x, w, inverse)

    def rms_grad(self, g, saved):
        op, (x, w, inverse) = self.graph.op, saved
        gw, unit = op("Mul", g, w), op("Mul", x, inverse)
        dot = op("ReduceMean", op("Mul", gw, unit), self.last, keepdims=1)
        return op("Mul", op("Sub", gw, op("Mul", unit, dot)), inverse)

    def rope(self, x, backward=False):
        """The gradient of a rotation is the opposite rotation."""
        sin = self.minus_sin if backward else self.sin
        return self.graph.op("RotaryEmbedding", x, self.positions, self.cos, sin, domain=MICROSOFT)

    def split_heads(self, x, heads):
        s = self.sizes
        return self.graph.op("Transpose", self.graph.reshape(x, s.batch, s.length, heads, s.head), perm=[0, 2, 1, 3])

    def join_heads(self, x, heads):
        return self.graph.reshape(self.graph.op("Transpose", x, perm=[0, 2, 1, 3]), self.sizes.tokens, heads * self.sizes.head)

    def attention(self, q, k, v):
        """Grouped queries share a key: the group is folded into the rows, so k and v are never repeated."""
        g, s = self.graph, self.sizes
        folded = (s.batch, s.kv_heads, s.group * s.length)
        q = g.reshape(q, *folded, s.head)
        scores = g.reshape(g.matmul(q, k, transpose_y=1, alpha=s.head**-0.5), s.batch, s.heads, s.length, s.length)
        weights = g.reshape(g.op("Softmax", g.op("Add", scores, self.mask), axis=-1), *folded, s.length)
        o = g.matmul(weights, v)
        return g.reshape(o, s.batch, s.heads, s.length, s.head), (q, k, v, weights, o)

    def attention_grad(self, grad, saved):
        g, s, (q, k, v, weights, o) = self.graph, self.sizes, saved
        grad = g.reshape(grad, s.batch, s.kv_heads, s.group * s.length, s.head)
        dv = g.matmul(weights, grad, transpose_x=1)
        dweights = g.matmul(grad, v, transpose_y=1)
        row = g.op("ReduceSum", g.op("Mul", grad, o), self.last, keepdims=1)  # = sum(dweights * weights), S times cheaper
        dscores = g.op("Mul", g.op("Sub", dweights, row), weights)
        dq = g.reshape(g.matmul(dscores, k, alpha=s.head**-0.5), s.batch, s.heads, s.length, s.head)
        return dq, g.matmul(dscores, q, transpose_x=1, alpha=s.head**-0.5), dv


class Frozen:
    def __init__(self, model, inputs, outputs):
        self.graph = model.graph
        self.w = self.graph.input("w", model.normal(outputs, inputs))

    def forward(self, x):
        return self.graph.matmul(x, self.w, transpose_y=1)

    def backward(self, g):
        return self.graph.matmul(g, self.w)


class Lora(Frozen):
    def __init__(self, model, inputs, outputs):
        super().__init__(model, inputs, outputs)
        self.a = self.graph.input("A", model.normal(RANK, inputs))
        self.b = self.graph.input("B", np.zeros((outputs, RANK), "f"))

    def forward(self, x):
        self.x, self.xa = x, self.graph.matmul(x, self.a, transpose_y=1)
        update = self.graph.matmul(self.xa, self.b, transpose_y=1, alpha=SCALE)
        return self.graph.op("Add", super().forward(x), update)

    def backward(self, g, need_x):
        gb = self.graph.matmul(g, self.b, alpha=SCALE)
        self.graph.output(self.graph.matmul(gb, self.x, transpose_x=1))
        self.graph.output(self.graph.matmul(g, self.xa, transpose_x=1, alpha=SCALE))
        return self.graph.op("Add", super().backward(g), self.graph.matmul(gb, self.a)) if need_x else None


class Layer:
    def __init__(self, model, index):
        self.model, self.lowest = model, index == 0
        s, g = model.sizes, model.graph
        kv = s.kv_heads * s.head
        self.norm1, self.norm2 = (g.input("norm", np.ones(s.hidden, "f")) for _ in range(2))
        self.q, self.k = Lora(model, s.hidden, s.hidden), Frozen(model, s.hidden, kv)
        self.v, self.o = Lora(model, s.hidden, kv), Frozen(model, s.hidden, s.hidden)
        self.gate, self.up = Frozen(model, s.hidden, s.intermediate), Frozen(model, s.hidden, s.intermediate)
        self.down = Frozen(model, s.intermediate, s.hidden)

    def forward(self, x):
        m, op, s = self.model, self.model.graph.op, self.model.sizes
        y, self.saved1 = m.rms(x, self.norm1)
        q = m.split_heads(self.q.forward(y), s.heads)
        k, v = (m.split_heads(part.forward(y), s.kv_heads) for part in (self.k, self.v))
        o, self.saved_attention = m.attention(m.rope(q), m.rope(k), v)
        x = op("Add", x, self.o.forward(m.join_heads(o, s.heads)))
        y, self.saved2 = m.rms(x, self.norm2)
        self.gated, self.upped = self.gate.forward(y), self.up.forward(y)
        self.sigmoid = op("Sigmoid", self.gated)
        self.silu = op("Mul", self.gated, self.sigmoid)
        return op("Add", x, self.down.forward(op("Mul", self.silu, self.upped)))

    def backward(self, g):
        m, op, s = self.model, self.model.graph.op, self.model.sizes
        dh = self.down.backward(g)
        dsilu = op("Add", self.sigmoid, op("Mul", self.silu, op("Sub", m.one, self.sigmoid)))
        dgate = self.gate.backward(op("Mul", op("Mul", dh, self.upped), dsilu))
        dup = self.up.backward(op("Mul", dh, self.silu))
        g = op("Add", g, m.rms_grad(op("Add", dgate, dup), self.saved2))
        dq, dk, dv = m.attention_grad(m.split_heads(self.o.backward(g), s.heads), self.saved_attention)
        dy_q = self.q.backward(m.join_heads(m.rope(dq, backward=True), s.heads), not self.lowest)
        dy_v = self.v.backward(m.join_heads(dv, s.kv_heads), not self.lowest)
        if self.lowest:  # nothing below the lowest adapter is trainable
            return None
        dy = op("Add", op("Add", dy_q, dy_v), self.k.backward(m.join_heads(m.rope(dk, backward=True), s.kv_heads)))
        return op("Add", g, m.rms_grad(dy, self.saved1))
