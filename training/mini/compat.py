"""What differs between the PyTorch versions and devices that this code runs on (1.13 on a CPU, 2.x on CUDA)."""

import contextlib
import math
import os
import sys

import torch
import torch.nn.functional as F

CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")
COMPILE = CUDA and hasattr(torch, "compile") and os.environ.get("MINI_COMPILE", "1") == "1"


def compiled(function, **options):
    """torch.compile where there is a GPU; whatever fails to compile runs as it is."""
    if not COMPILE:
        return function
    import torch._dynamo

    torch._dynamo.config.suppress_errors = True
    options.setdefault("dynamic", False)
    return torch.compile(function, **options)


def set_up(seed=0):
    torch.manual_seed(seed)
    if CUDA:
        torch.backends.cuda.matmul.allow_tf32 = False  # the world's geometry needs all of fp32; networks run in bf16
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True


def autocast():
    return torch.autocast("cuda", dtype=torch.bfloat16) if CUDA else contextlib.nullcontext()


def attention(q, k, v):
    """[…, tokens, head] each; softmax(q·kᵀ/sqrt(head))·v."""
    if hasattr(F, "scaled_dot_product_attention"):
        return F.scaled_dot_product_attention(q, k, v)
    weight = torch.softmax(q @ k.transpose(-1, -2) * (1 / math.sqrt(q.shape[-1])), -1)
    return weight @ v


def adam(parameters, rate, **options):
    """AdamW, fused on CUDA."""
    if CUDA:
        options["fused"] = True
    return torch.optim.AdamW(parameters, lr=rate, **options)


class Layout:
    """Memory order of pictures in the autoencoder, which is not compiled: what is faster is found out (stages/vae.py)."""

    pictures = torch.channels_last


def channels_last(module, layout=torch.channels_last):
    """Moves the module to the device, the kernels of its 2D convolutions to channels-last memory."""
    module.to(DEVICE)
    for parameter in module.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=layout)
    return module


def say(*words):
    print(*words, flush=True, file=sys.stdout)
