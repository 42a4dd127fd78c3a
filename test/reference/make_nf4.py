"""NF4 as bitsandbytes quantises it, with plain and with doubly quantised block scales: vectors/nf4/."""

import json

import bitsandbytes.functional as F
import torch
from safetensors.torch import save_file

ROWS, COLUMNS, BLOCK = 32, 256, 64


def write(vectors):
    folder = vectors / "nf4"
    folder.mkdir(parents=True, exist_ok=True)
    weight = torch.randn(ROWS, COLUMNS, generator=torch.Generator().manual_seed(11)) * 0.05
    weight[0, :BLOCK] = 0  # a block of zeros: its scale is zero
    weight[1, 3] = 2.0  # an outlier crushes its block
    packed, plain = F.quantize_4bit(weight, blocksize=BLOCK, quant_type="nf4")
    packed2, double = F.quantize_4bit(weight, blocksize=BLOCK, quant_type="nf4", compress_statistics=True)
    assert torch.equal(packed, packed2)
    save_file({
        "weight": weight,
        "code": plain.code.float(),
        "packed": packed.flatten(),
        "absmax": plain.absmax,
        "dequantized": F.dequantize_4bit(packed, plain),
        "double.absmax": double.absmax,
        "double.code": double.state2.code,
        "double.absmax2": double.state2.absmax,
        "double.offset": double.offset.reshape(1),
        "double.dequantized": F.dequantize_4bit(packed2, double),
    }, folder / "nf4.safetensors", metadata={"format": "pt"})
    (folder / "nf4.json").write_text(json.dumps({"shape": [ROWS, COLUMNS], "block": BLOCK, "double_block": double.state2.blocksize,
                                                 "order": "the first weight of a pair is the high nibble"}, indent=1) + "\n")
    check_order(weight, packed, plain)
    write_scales(folder)
    print("nf4 done")


def write_scales(folder):
    """Scales of many groups, the last one short, quantised as quantize_4bit(compress_statistics=True) does."""
    scales = torch.exp(torch.randn(3 * 256 + 77, generator=torch.Generator().manual_seed(12)) * 0.7) * 0.03
    offset = scales.mean()
    codes, state = F.quantize_blockwise(scales - offset, blocksize=256)
    save_file({
        "scales": scales,
        "offset": offset.reshape(1),
        "codes": codes,
        "absmax2": state.absmax,
        "dequantized": F.dequantize_blockwise(codes, state) + offset,
    }, folder / "scales.safetensors", metadata={"format": "pt"})


def check_order(weight, packed, state):
    high = state.code[(packed.flatten() >> 4).long()]
    scale = state.absmax.repeat_interleave(BLOCK // 2)
    assert torch.allclose(high * scale, F.dequantize_4bit(packed, state).flatten()[0::2])
