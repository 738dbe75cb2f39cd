"""The networks against reference tensors: python3 training/tests/test_golden.py [folder with the fixtures].

A fixture is a folder config.json, io.safetensors, weights.safetensors, as shared/golden of the project's development has them.
"""

import json
import os
import sys
import tarfile
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from mini.files import load_part, read_safetensors
from mini.models import diffusion
from mini.models.sdxl_unet import SdxlUNet
from mini.models.text import TextEncoder
from mini.models.vae import Decoder, Encoder, Sizes, moments_to_sample
from mini.models.video_unet import VideoUNet
from mini.models.vit import ImageTower, prepare

UNET = "model.diffusion_model."


class Check:
    def __init__(self):
        self.passed = self.failed = 0

    def same(self, name, ours, theirs, tolerance=1e-4):
        """Largest difference against the root mean square of the reference."""
        error = (ours - theirs).abs().max().item() / max(theirs.pow(2).mean().sqrt().item(), 1e-12)
        good = error < tolerance
        self.passed += good
        self.failed += not good
        print(f"{'ok  ' if good else 'FAIL'} {name:45} {error:.2e}")


def video_unet(config, weights):
    c = config["network_config"]
    inner = weights[UNET + "middle_block.1.transformer_blocks.0.ff.net.2.weight"].shape
    sizes = VideoUNet.Sizes(vector=c["adm_in_channels"], context=c["context_dim"], channels=c["model_channels"],
                            factors=tuple(c["channel_mult"]), blocks=c["num_res_blocks"], attention=tuple(c["attention_resolutions"]),
                            head=c["num_head_channels"], ratio=inner[1] / inner[0], embedding=4 * c["model_channels"])
    return load_part(VideoUNet(sizes), weights, UNET).eval()


def check_unet(check, folder):
    config, (io, _) = json.loads((folder / "config.json").read_text()), read_safetensors(folder / "io.safetensors")
    network = video_unet(config, read_safetensors(folder / "weights.safetensors")[0])
    out = network(io["x"], io["timesteps"], io["context"][:, 0], io["y"], config["num_video_frames"])
    check.same("svd_unet", out, io["output"])


def check_sampling(check, folder, unet_folder):
    config, (io, _) = json.loads((folder / "config.json").read_text()), read_safetensors(folder / "io.safetensors")
    network = video_unet(config, read_safetensors(unet_folder / "weights.safetensors")[0])
    frames, guide = config["num_frames"], config["guider"]
    sigmas = diffusion.edm_sigmas(config["steps"], config["sigma_min"], config["sigma_max"], config["rho"])
    guidance = diffusion.linear_guidance(frames, guide["min_scale"], guide["max_scale"])
    out = diffusion.sample(network, io["noise"][None].clone(), io["c.crossattn"][:1, 0], io["c.concat"][:1], io["c.vector"], guidance, sigmas)
    check.same("svd_sampling", out[0], io["final_latent"])


def check_injection(check, folder):
    config, (io, _) = json.loads((folder / "config.json").read_text()), read_safetensors(folder / "io.safetensors")
    network = video_unet(config, read_safetensors(folder / "weights.safetensors")[0])
    frames, guide, videos = config["num_frames"], config["guider"], range(config["video_frames"])
    sigmas = diffusion.edm_sigmas(config["steps"], config["sigma_min"], config["sigma_max"], config["rho"])
    guidance = diffusion.triangle_guidance(frames, guide["min_scale"], guide["max_scale"])
    stacked = lambda name: torch.stack([io[f"frame{k}.{name}"] for k in videos])
    for case, hook in (("noref", None), ("ref_ema", lambda: diffusion.Injection(config["ref_strength"], True)),
                       ("ref_noema", lambda: diffusion.Injection(config["ref_strength"], False))):
        out = diffusion.sample(network, stacked("noise"), stacked("c.crossattn")[:, 0, 0], stacked("c.concat")[:, 0], io["frame0.c.vector"],
                               guidance, sigmas, hook)
        for k in videos:
            check.same(f"sv3d_injection {case} frame {k}", out[k], io[f"{case}.frame{k}.final_latent"])


def check_vae(check, folder):
    config, (io, _) = json.loads((folder / "config.json").read_text()), read_safetensors(folder / "io.safetensors")
    weights, _ = read_safetensors(folder / "weights.safetensors")
    c = config["ddconfig"]
    sizes = Sizes(c["ch"], tuple(c["ch_mult"]), c["num_res_blocks"], c["z_channels"])
    encoder = load_part(Encoder(sizes), weights, "first_stage_model.encoder.")
    moments = encoder(io["x"])
    check.same("svd_vae moments", moments, io["moments"])
    check.same("svd_vae sample", moments_to_sample(moments, io["eps"]), io["sample_given_eps"])
    temporal = load_part(Decoder(sizes, True), weights, "first_stage_model.decoder.")
    z = io["z"] / config["scale_factor"]
    check.same("svd_vae temporal decoder, all frames", temporal(z, config["T"]), io["decoded_T"])
    check.same("svd_vae temporal decoder, one frame at a time", temporal(z, 1), io["decoded_chunk1"])
    spatial = {k: v for k, v in weights.items() if not any(t in k for t in ("time_stack", "time_mix_conv", "mix_factor"))}
    plain = load_part(Decoder(sizes), spatial, "first_stage_model.decoder.")
    check.same("svd_vae plain decoder", plain(z), io["sv3d_decoded"])


def check_vit(check, folder):
    config, (io, _) = json.loads((folder / "config.json").read_text()), read_safetensors(folder / "io.safetensors")
    weights, _ = read_safetensors(folder / "weights.safetensors")
    arch, prefix = config["arch"], "conditioner.embedders.0.open_clip.model.visual."
    v = arch["vision_cfg"]
    inner = weights[prefix + "transformer.resblocks.0.mlp.c_fc.bias"].shape[0]
    tower = ImageTower(ImageTower.Sizes(v["image_size"], v["patch_size"], v["width"], v["layers"], v["head_width"], inner, arch["embed_dim"]))
    load_part(tower, weights, prefix)
    check.same("openclip_vit", tower(io["preprocessed"]), io["embedding"])
    picture = torch.rand(1, 3, v["image_size"], v["image_size"]) * 2 - 1
    assert prepare(picture).shape == picture.shape


def check_sdxl(check, folder):
    config, (io, _) = json.loads((folder / "config.json").read_text()), read_safetensors(folder / "io.safetensors")
    with tempfile.TemporaryDirectory() as temporary:
        with tarfile.open(folder / "pipeline.tar") as tar:
            tar.extractall(temporary)
        root = Path(temporary)
        part = lambda name, file: (json.loads((root / name / "config.json").read_text()), read_safetensors(root / name / file)[0])
        states = []
        for i, name in enumerate(("text_encoder", "text_encoder_2")):
            c, weights = part(name, "model.safetensors")
            sizes = TextEncoder.Sizes(c["vocab_size"], c["hidden_size"], c["num_hidden_layers"], c["num_attention_heads"],
                                      c["intermediate_size"], c["max_position_embeddings"], c["hidden_act"] == "quick_gelu",
                                      c["projection_dim"] if i else 0)
            before, pooled, _ = load_part(TextEncoder(sizes), weights)(io[f"prompt_ids_{i + 1}"])
            states.append(before)
        check.same("sdxl text states", torch.cat(states, -1), io["unet.encoder_hidden_states"])
        check.same("sdxl pooled text", pooled, io["te2.text_embeds"])
        c, weights = part("unet", "diffusion_pytorch_model.safetensors")
        depth = tuple(d if "CrossAttn" in kind else 0 for d, kind in zip(c["transformer_layers_per_block"], c["down_block_types"]))
        heads = {b // h for b, h in zip(c["block_out_channels"], c["attention_head_dim"])}
        network = SdxlUNet(SdxlUNet.Sizes(c["cross_attention_dim"], io["unet.text_embeds"].shape[1], tuple(c["block_out_channels"]),
                                          c["layers_per_block"], depth, heads.pop(), c["addition_time_embed_dim"]))
        load_part(network, weights)
        out = network(io["unet.sample_in"], io["unet.t"], io["unet.encoder_hidden_states"], io["unet.text_embeds"], io["unet.time_ids"])
        check.same("sdxl unet", out, io["unet.noise_pred"])
        sigma = diffusion.sdxl_sigma(torch.tensor([int(config["timesteps_run"][0])]))
        latents = io["step.in_latents"] - sigma * out
        check.same("sdxl step", latents, io["step.prev_sample"])


@torch.no_grad()
def main():
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("EG4D_GOLDEN_DIR", "../shared/golden"))
    check = Check()
    check_unet(check, folder / "svd_unet")
    check_sampling(check, folder / "svd_sampling", folder / "svd_unet")
    check_injection(check, folder / "sv3d_injection")
    check_vae(check, folder / "svd_vae")
    check_vit(check, folder / "openclip_vit")
    check_sdxl(check, folder / "sdxl_img2img")
    print(f"{check.passed} passed, {check.failed} failed")
    return 1 if check.failed else 0


if __name__ == "__main__":
    sys.exit(main())
