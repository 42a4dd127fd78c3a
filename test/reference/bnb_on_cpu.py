"""bitsandbytes on a CPU. Version 0.50.2 decodes weights there wrongly whose rows are no whole number of blocks: as on a GPU, and as they
are packed, blocks run on over the ends of rows."""

import bitsandbytes
import bitsandbytes.functional as F
import torch

STOCK = F.dequantize_4bit


def dequantize_4bit(packed, state, *args, **kwargs):
    codes = torch.stack((packed.flatten() >> 4, packed.flatten() & 15), 1).flatten().long()
    values = state.code.double()[codes].view(-1, state.blocksize) * state.absmax.double()[:, None]
    return values.to(state.dtype).view(state.shape)


def mend():
    weight = torch.randn((8, 128), generator=torch.Generator().manual_seed(1))
    packed = F.quantize_4bit(weight, quant_type="nf4")
    assert torch.equal(STOCK(*packed), dequantize_4bit(*packed)), "bitsandbytes decodes whole blocks in another way"
    F.dequantize_4bit = dequantize_4bit
    bitsandbytes.matmul_4bit = lambda a, b, quant_state, out=None, bias=None: torch.nn.functional.linear(
        a, dequantize_4bit(b, quant_state).to(a.dtype), bias)
