"""Sizes of the mini models and of their training: the real ones, and tiny ones (`smoke`) that run in seconds on a processor."""

from dataclasses import dataclass, field

from .models.sdxl_unet import SdxlUNet
from .models.text import TextEncoder
from .models.vae import Sizes as VaeSizes
from .models.video_unet import VideoUNet
from .models.vit import ImageTower

CONTEXT = 64  # width of the image embedding and of the pooled text
TEXT_WIDTH = 64


@dataclass
class Config:
    """Batch sizes, sizes of data sets in creatures, peak learning rates."""

    smoke: bool = False
    vae_batch: int = 64
    vae_pool: int = 40000  # pictures
    vae_rate: float = 8e-4
    tower_batch: int = 768
    tower_rate: float = 1e-3
    sv3d_batch: int = 64
    sv3d_bank: int = 40000  # orbits
    svd_batch: int = 128
    svd_bank: int = 60000  # clips
    video_rate: float = 8e-4
    sdxl_batch: int = 256
    sdxl_bank: int = 60000
    sdxl_rate: float = 8e-4
    chunk: int = 512  # creatures rendered at a time
    vae: VaeSizes = field(default_factory=VaeSizes)
    tower: ImageTower.Sizes = field(default_factory=lambda: ImageTower.Sizes(out=CONTEXT))

    def video(self, kind):
        return VideoUNet.Sizes(vector=1280 if kind == "sv3d" else 768, context=CONTEXT, channels=64, factors=(1, 1.5), blocks=1, attention=(1, 2),
                               head=32, ratio=2, embedding=256)

    def sdxl(self):
        return SdxlUNet.Sizes(context=2 * TEXT_WIDTH, pooled=CONTEXT, channels=(64, 96), blocks=1, depth=(0, 1))

    def text(self, vocabulary, second):
        return TextEncoder.Sizes(vocabulary, width=TEXT_WIDTH, quick=not second, projection=CONTEXT if second else 0)


def config_for(smoke):
    if not smoke:
        return Config()
    return Config(smoke=True, vae_batch=2, vae_pool=6, tower_batch=6, sv3d_batch=1, sv3d_bank=2, svd_batch=1, svd_bank=3, sdxl_batch=2, sdxl_bank=4,
                  chunk=2)
