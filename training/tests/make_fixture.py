"""A fixture sdxl_img2img/ from an exported folder, for the program's golden tests: do both read the same network out of it?

python3 training/tests/make_fixture.py models/mini/sdxl_mini FOLDER && EG4D_GOLDEN_DIR=FOLDER build/release/tests/eg4d_golden_tests \\
    --gtest_filter='*Sdxl*Encoders*:*Sdxl*Prediction*:*Sdxl*Autoencoder*'
Weights that are zero or one (as in untrained exports) are made random first.
"""

import json
import sys
import tarfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from export import diffusers_name
from mini.config import config_for
from mini.files import load_part, read_safetensors, write_safetensors
from mini.models import diffusion
from mini.models.sdxl_unet import SdxlUNet
from mini.models.text import TextEncoder
from mini.models.vae import SDXL_SCALE, Autoencoder
from mini.tokenizer import Tokenizer

FILES = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model", "text_encoder_2": "model"}


def randomised(tensors):
    for name, tensor in tensors.items():
        if tensor.float().std(unbiased=False) < 1e-6:
            noise = torch.randn(tensor.shape) * (0.1 if tensor.dim() < 2 else tensor[0].numel() ** -0.5)
            tensors[name] = (tensor.float() + noise).half()
    return tensors


@torch.no_grad()
def main(exported, out):
    torch.manual_seed(1)
    config, tokenizer, folder = config_for(False), Tokenizer(), out / "sdxl_img2img"
    pipeline = out / "pipeline"
    for path in exported.rglob("*.json"):
        target = pipeline / path.relative_to(exported)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(path.read_text())
    tensors = {}
    for part, name in FILES.items():
        tensors[part] = randomised(read_safetensors(exported / part / f"{name}.safetensors")[0])
        write_safetensors(pipeline / part / f"{name}.safetensors", tensors[part], {"format": "pt"})
    io = {}
    states = []
    for i, part in enumerate(("text_encoder", "text_encoder_2")):
        ids = torch.tensor([tokenizer.encode("a striped dog walking", 0 if i else tokenizer.end)])
        before, pooled, _ = load_part(TextEncoder(config.text(len(tokenizer), bool(i))), tensors[part])(ids)
        io[f"prompt_ids_{i + 1}"], io[f"te{i + 1}.hidden_states_penultimate"] = ids, before
        states.append(before)
    io["te2.text_embeds"] = io["unet.text_embeds"] = pooled
    context = io["unet.encoder_hidden_states"] = torch.cat(states, -1)
    io["unet.sample_in"], io["unet.t"] = torch.randn(1, 4, 16, 16), torch.tensor([99.0])
    io["unet.time_ids"] = torch.tensor([[128.0, 128, 0, 0, 128, 128]])
    unet = load_part(SdxlUNet(config.sdxl()), tensors["unet"])
    io["unet.noise_pred"] = unet(io["unet.sample_in"], io["unet.t"], context, pooled, io["unet.time_ids"])

    auto = Autoencoder(config.vae)
    own = {}
    for key, value in auto.state_dict().items():
        own[key] = tensors["vae"][diffusers_name(key, len(config.vae.factors))].float().reshape(value.shape)
    auto.load_state_dict(own)
    point = lambda name, x: torch.nn.functional.conv2d(x, tensors["vae"][f"{name}.weight"].float(), tensors["vae"][f"{name}.bias"].float())
    io["vae.image_in"] = torch.rand(1, 3, 128, 128) * 2 - 1
    io["vae.mean"], io["vae.logvar"] = point("quant_conv", auto.encoder(io["vae.image_in"])).chunk(2, 1)
    io["vae.decode_in"] = torch.randn(1, 4, 16, 16) / SDXL_SCALE
    io["vae.decoded"] = auto.decoder(point("post_quant_conv", io["vae.decode_in"]))
    io["scheduler.timesteps"] = torch.arange(999, 0, -100).float()
    io["scheduler.sigmas"] = torch.cat([diffusion.sdxl_sigma(torch.arange(999, 0, -100)), torch.zeros(1)])
    folder.mkdir(parents=True, exist_ok=True)
    write_safetensors(folder / "io.safetensors", io, {})
    (folder / "config.json").write_text(json.dumps({"num_inference_steps": 10, "strength": 0.11, "timesteps_run": [99.0]}))
    with tarfile.open(folder / "pipeline.tar", "w") as tar:
        tar.add(pipeline, ".")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
