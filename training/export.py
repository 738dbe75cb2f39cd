"""Checkpoints become the files that eg4d loads: python3 training/export.py --state training/state --out models/mini

svd_mini.safetensors and sv3d_mini.safetensors in the single-file layouts of Stable Video Diffusion XT and SV3D_p, sdxl_mini/ in the
diffusers folder layout of SDXL. Weights are f16; the header of every file tells where they come from. --untrained: random weights.
"""

import argparse
import json
import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch

from mini.config import config_for
from mini.files import write_safetensors
from mini.models.sdxl_unet import SdxlUNet
from mini.models.text import TextEncoder
from mini.models.vae import SDXL_SCALE, SVD_SCALE, Autoencoder
from mini.models.video_unet import VideoUNet
from mini.models.vit import ImageTower
from mini.stages.vae import temporal_decoder
from mini.tokenizer import Tokenizer
from mini.training import LICENSE, load_state

LARGEST_FILE, LARGEST_SUM = 15_000_000, 48_000_000
VISUAL = "conditioner.embedders.0.open_clip.model.visual."


def below(tensors, prefix):
    return {k[len(prefix):]: v for k, v in tensors.items() if k.startswith(prefix)}


def above(prefix, tensors):
    return {prefix + k: v for k, v in tensors.items()}


def untrained(config):
    """Random weights under the checkpoints' names."""
    torch.manual_seed(0)
    vocabulary = len(Tokenizer())
    auto = Autoencoder(config.vae)
    made = {"vae": {**auto.state_dict(), **above("temporal.", temporal_decoder(auto.decoder, config.vae).state_dict())},
            "towers": {**above("image.", ImageTower(config.tower).state_dict()),
                       **above("text1.", TextEncoder(config.text(vocabulary, False)).state_dict()),
                       **above("text2.", TextEncoder(config.text(vocabulary, True)).state_dict())},
            "sv3d": VideoUNet(config.video("sv3d")).state_dict(), "svd": VideoUNet(config.video("svd")).state_dict(),
            "sdxl": SdxlUNet(config.sdxl()).state_dict()}
    return {k: (v, {"stage": k, "steps": 0, "seconds": 0}) for k, v in made.items()}


def pointwise(channels, scales, shifts):
    """A 1×1 convolution that scales and shifts every channel."""
    return {"weight": torch.diag(torch.tensor(scales))[:, :, None, None], "bias": torch.tensor(shifts)}


def rescaled(ratio):
    """quant_conv and post_quant_conv for latents `ratio` times as large as the autoencoder's own."""
    count = 4
    quant = pointwise(2 * count, [ratio] * count + [1.0] * count, [0.0] * count + [2 * math.log(ratio)] * count)
    return {**above("quant_conv.", quant), **above("post_quant_conv.", pointwise(count, [1 / ratio] * count, [0.0] * count))}


def video_file(kind, states):
    """All tensors of the single-file layout but the ones without any use: the condition's decoder and the tower's text side."""
    vae, towers = states["vae"][0], states["towers"][0]
    encoder = above("encoder.", below(vae, "encoder."))
    # The sampler does not scale the condition: quant_conv brings it to unit deviation.
    condition = f"conditioner.embedders.{3 if kind == 'svd' else 1}.encoder."
    tensors = {**above("model.diffusion_model.", states[kind][0]), **above(VISUAL, below(towers, "image.")),
               **above(condition, {**encoder, **rescaled(SVD_SCALE)})}
    decoder = below(vae, "temporal." if kind == "svd" else "decoder.")
    return {**tensors, **above("first_stage_model.decoder.", decoder)}


def diffusers_name(key, levels):
    """A key of the autoencoder in the diffusers layout."""
    parts = key.split(".")
    side = parts[0]
    if side not in ("encoder", "decoder"):
        return key
    rest = parts[1:]
    if rest[0] in ("down", "up"):
        level = int(rest[1])
        stage = f"down_blocks.{level}" if rest[0] == "down" else f"up_blocks.{levels - 1 - level}"
        if rest[2] == "block":
            name = {"nin_shortcut": "conv_shortcut"}.get(rest[4], rest[4])
            return ".".join([side, stage, "resnets", rest[3], name, *rest[5:]])
        return ".".join([side, stage, f"{rest[2]}rs.0" if rest[2].endswith("e") else rest[2], *rest[3:]])
    if rest[0] == "mid":
        if rest[1] == "attn_1":
            name = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}[rest[2]]
            return ".".join([side, "mid_block.attentions.0", name, *rest[3:]])
        return ".".join([side, "mid_block.resnets", str(int(rest[1][-1]) - 1), *rest[2:]])
    if rest[0] == "norm_out":
        return ".".join([side, "conv_norm_out", *rest[1:]])
    return key


def sdxl_vae(vae, config):
    own = {**above("encoder.", below(vae, "encoder.")), **above("decoder.", below(vae, "decoder.")), **rescaled(SVD_SCALE / SDXL_SCALE)}
    named = {diffusers_name(k, len(config.vae.factors)): v for k, v in own.items()}
    return {k: v[:, :, 0, 0] if ".attentions." in k and v.dim() == 4 else v for k, v in named.items()}


def sdxl_configs(config, vocabulary):
    """The folder's JSON files: name → content."""
    u, v, levels = config.sdxl(), config.vae, len(config.vae.factors)
    kind = lambda side: [("CrossAttn" if d else "") + f"{side}Block2D" for d in (u.depth if side == "Down" else u.depth[::-1])]
    text = lambda second: (lambda s: {
        "architectures": ["CLIPTextModelWithProjection" if second else "CLIPTextModel"], "model_type": "clip_text_model", "vocab_size": s.vocabulary,
        "hidden_size": s.width, "intermediate_size": s.inner, "projection_dim": s.projection or s.width, "num_hidden_layers": s.layers,
        "num_attention_heads": s.heads, "max_position_embeddings": s.length, "hidden_act": "quick_gelu" if s.quick else "gelu", "layer_norm_eps": 1e-5,
        "bos_token_id": vocabulary - 2, "eos_token_id": vocabulary - 1, "pad_token_id": 1})(config.text(vocabulary, second))
    return {
        "model_index.json": {"_class_name": "StableDiffusionXLPipeline", "force_zeros_for_empty_prompt": True,
                             "scheduler": ["diffusers", "EulerAncestralDiscreteScheduler"], "text_encoder": ["transformers", "CLIPTextModel"],
                             "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"], "tokenizer": ["transformers", "CLIPTokenizer"],
                             "tokenizer_2": ["transformers", "CLIPTokenizer"], "unet": ["diffusers", "UNet2DConditionModel"],
                             "vae": ["diffusers", "AutoencoderKL"]},
        "scheduler/scheduler_config.json": {"_class_name": "EulerAncestralDiscreteScheduler", "num_train_timesteps": 1000, "beta_start": 0.00085,
                                            "beta_end": 0.012, "beta_schedule": "scaled_linear", "trained_betas": None,
                                            "prediction_type": "epsilon", "timestep_spacing": "trailing", "steps_offset": 1,
                                            "rescale_betas_zero_snr": False},
        "text_encoder/config.json": text(False), "text_encoder_2/config.json": text(True),
        "unet/config.json": {"_class_name": "UNet2DConditionModel", "sample_size": 16, "in_channels": u.latents, "out_channels": u.latents,
                             "flip_sin_to_cos": True, "freq_shift": 0, "down_block_types": kind("Down"), "mid_block_type": "UNetMidBlock2DCrossAttn",
                             "up_block_types": kind("Up"), "block_out_channels": list(u.channels), "layers_per_block": u.blocks,
                             "act_fn": "silu", "norm_num_groups": 32, "norm_eps": 1e-5, "cross_attention_dim": u.context,
                             "transformer_layers_per_block": [max(d, 1) for d in u.depth], "attention_head_dim": [c // u.head for c in u.channels],
                             "use_linear_projection": True, "addition_embed_type": "text_time", "addition_time_embed_dim": u.time_width,
                             "projection_class_embeddings_input_dim": u.pooled + 6 * u.time_width, "resnet_time_scale_shift": "default",
                             "time_embedding_type": "positional"},
        "vae/config.json": {"_class_name": "AutoencoderKL", "in_channels": 3, "out_channels": 3, "down_block_types": ["DownEncoderBlock2D"] * levels,
                            "up_block_types": ["UpDecoderBlock2D"] * levels, "block_out_channels": [v.channels * f for f in v.factors],
                            "layers_per_block": v.blocks, "act_fn": "silu", "latent_channels": v.latents, "norm_num_groups": 32, "sample_size": 128,
                            "scaling_factor": SDXL_SCALE, "use_quant_conv": True, "use_post_quant_conv": True, "mid_block_add_attention": True},
    }


def provenance(states, names):
    """What each stage of a file was trained on: flat, as headers are."""
    header = {"license": LICENSE, "trained_on": "pictures rendered by training/ of the eg4d repository; held-out seeds from 1e9"}
    for name in names:
        for key, value in states[name][1].items():
            if key not in ("done", "license", "stage"):
                header[f"{name}.{key}"] = value
    return header


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", default="training/state")
    parser.add_argument("--out", default="models/mini")
    parser.add_argument("--untrained", action="store_true")
    arguments = parser.parse_args()
    config, out, tokenizer = config_for(False), Path(arguments.out), Tokenizer()
    states = untrained(config)
    if not arguments.untrained:
        found = {name: load_state(arguments.state, name) for name in states}
        missing = [name for name, state in found.items() if state is None]
        if missing:
            print(f"no checkpoint of {', '.join(missing)}: those weights stay random")
        states.update({name: state for name, state in found.items() if state is not None})

    half = lambda tensors: {k: v.to(torch.float16) for k, v in tensors.items()}
    written = []

    def write(path, tensors, names, **more):
        write_safetensors(out / path, half(tensors), {**provenance(states, names), **more})
        written.append(out / path)

    for kind in ("svd", "sv3d"):
        write(f"{kind}_mini.safetensors", video_file(kind, states), ["vae", "towers", kind],
              num_head_channels=config.video(kind).head, clip_head_channels=config.tower.head)
    folder = Path("sdxl_mini")
    write(folder / "unet/diffusion_pytorch_model.safetensors", states["sdxl"][0], ["sdxl"], format="pt")
    write(folder / "vae/diffusion_pytorch_model.safetensors", sdxl_vae(states["vae"][0], config), ["vae"], format="pt")
    write(folder / "text_encoder/model.safetensors", below(states["towers"][0], "text1."), ["towers"], format="pt")
    write(folder / "text_encoder_2/model.safetensors", below(states["towers"][0], "text2."), ["towers"], format="pt")
    for name, content in sdxl_configs(config, len(tokenizer)).items():
        path = out / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1) + "\n")
    for name in ("tokenizer", "tokenizer_2"):
        tokenizer.write(out / folder / name)
    total = sum(p.stat().st_size for p in written)
    for path in written:
        print(f"{path.stat().st_size / 1e6:7.2f} MB  {path}")
    print(f"{total / 1e6:7.2f} MB  in all")
    if total > LARGEST_SUM or any(p.stat().st_size > LARGEST_FILE for p in written):
        sys.exit("too large to ship: at most 15 MB a file, 48 MB in all")


if __name__ == "__main__":
    main()
