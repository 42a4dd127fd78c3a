"""A small ONNX graph builder: nodes, constants and inputs are collected in order, then compiled with ONNX Runtime."""

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

MICROSOFT = "com.microsoft"
ELEMENT = {np.dtype("float32"): TensorProto.FLOAT, np.dtype("int64"): TensorProto.INT64, np.dtype(bool): TensorProto.BOOL}


class Graph:
    def __init__(self):
        self.nodes, self.constants, self.inputs, self.outputs, self.feed = [], [], [], [], {}
        self.names = 0

    def name(self, prefix):
        self.names += 1
        return f"{prefix}{self.names}"

    def op(self, kind, *args, domain="", **attributes):
        result = self.name(kind)
        self.nodes.append(helper.make_node(kind, list(args), [result], domain=domain, **attributes))
        return result

    def constant(self, value):
        result = self.name("constant")
        self.constants.append(numpy_helper.from_array(np.asarray(value), result))
        return result

    def input(self, label, value):
        """An input of the graph. Frozen weights are inputs too: they exist once, uncopied, in the checkpoint's layout."""
        result = self.name(label)
        self.inputs.append(helper.make_tensor_value_info(result, ELEMENT[value.dtype], value.shape))
        self.feed[result] = value
        return result

    def output(self, name):
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))

    def matmul(self, x, y, transpose_x=0, transpose_y=0, alpha=1.0):
        if not (transpose_x or transpose_y) and alpha == 1.0:
            return self.op("MatMul", x, y)
        return self.op("FusedMatMul", x, y, domain=MICROSOFT, transA=transpose_x, transB=transpose_y, alpha=alpha)

    def reshape(self, x, *dims):
        return self.op("Reshape", x, self.constant(np.array(dims, np.int64)))

    def compile(self, threads):
        """Returns run() -> outputs in order; the feed is the collected inputs."""
        used = {name for node in self.nodes for name in node.input}
        graph = helper.make_graph(self.nodes, "step", [i for i in self.inputs if i.name in used], self.outputs, self.constants)
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid(MICROSOFT, 1)]
        model = helper.make_model(graph, ir_version=10, opset_imports=opsets)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3
        options.enable_mem_pattern = False  # costs no time here and saves a third of the memory
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        feed = {i.name: self.feed[i.name] for i in graph.input}
        return lambda: session.run(None, feed)
