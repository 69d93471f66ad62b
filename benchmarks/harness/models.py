"""Names and shapes of the models that are merged."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

Shapes = dict[str, tuple[int, ...]]


def elements(shapes: Shapes) -> int:
    """Elements of all tensors."""
    return sum(math.prod(shape) for shape in shapes.values())


def squares(count: int, side: int = 2048) -> Shapes:
    """``count`` square matrices."""
    return {f"layers.{index}.weight": (side, side) for index in range(count)}


def large_squares(models: int, itemsize: int, *, quick: bool) -> Shapes:
    """As many matrices as make base, ``models`` fine-tuned models and a result 1.25 GB or more.

    One has more than 32 MiB in fp32, from which glibc maps memory anew for each allocation.
    """
    side, total = (512, 3e7) if quick else (2900, 1.25e9)
    return squares(-(-int(total) // ((models + 2) * side * side * itemsize)), side)


def tiny(count: int) -> Shapes:
    """``count`` tensors of 16 elements, so small that only the work per tensor counts."""
    return {f"layers.{index}.bias": (16,) for index in range(count)}


def clip_vit_b32() -> Shapes:
    """The 302 parameters of open_clip's ViT-B-32, in its order: 151 million elements."""
    return dict(_clip_vit_b32())


def clip_vit_l14() -> Shapes:
    """The 590 parameters of Hugging Face's CLIP ViT-L/14, in its order: 428 million elements."""
    return dict(_clip_vit_l14())


def resnet18() -> Shapes:
    """The 62 parameters of torchvision's ResNet-18, in its order: 11.7 million elements."""
    return dict(_resnet18())


def _clip_vit_b32() -> Iterator[tuple[str, tuple[int, ...]]]:
    yield from {"positional_embedding": (77, 512), "text_projection": (512, 512), "logit_scale": ()}.items()
    yield from {"visual.class_embedding": (768,), "visual.positional_embedding": (50, 768)}.items()
    yield from {"visual.proj": (768, 512), "visual.conv1.weight": (768, 3, 32, 32)}.items()
    yield from _affine("visual.ln_pre", 768)
    yield from _transformer("visual.transformer", 768)
    yield from _affine("visual.ln_post", 768)
    yield from _transformer("transformer", 512)
    yield "token_embedding.weight", (49408, 512)
    yield from _affine("ln_final", 512)


def _transformer(prefix: str, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    for index in range(12):
        block = f"{prefix}.resblocks.{index}"
        yield from _affine(f"{block}.ln_1", width)
        yield from {
            f"{block}.attn.in_proj_weight": (3 * width, width),
            f"{block}.attn.in_proj_bias": (3 * width,),
            f"{block}.attn.out_proj.weight": (width, width),
            f"{block}.attn.out_proj.bias": (width,),
        }.items()
        yield from _affine(f"{block}.ln_2", width)
        yield from {
            f"{block}.mlp.c_fc.weight": (4 * width, width),
            f"{block}.mlp.c_fc.bias": (4 * width,),
            f"{block}.mlp.c_proj.weight": (width, 4 * width),
            f"{block}.mlp.c_proj.bias": (width,),
        }.items()


def _clip_vit_l14() -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "logit_scale", ()
    yield "text_model.embeddings.token_embedding.weight", (49408, 768)
    yield "text_model.embeddings.position_embedding.weight", (77, 768)
    yield from _encoder("text_model.encoder", 12, 768)
    yield from _affine("text_model.final_layer_norm", 768)
    yield "vision_model.embeddings.class_embedding", (1024,)
    yield "vision_model.embeddings.patch_embedding.weight", (1024, 3, 14, 14)
    yield "vision_model.embeddings.position_embedding.weight", (257, 1024)
    yield from _affine("vision_model.pre_layrnorm", 1024)  # spelled so there
    yield from _encoder("vision_model.encoder", 24, 1024)
    yield from _affine("vision_model.post_layernorm", 1024)
    yield from {"visual_projection.weight": (768, 1024), "text_projection.weight": (768, 768)}.items()


def _encoder(prefix: str, layers: int, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    for index in range(layers):
        layer = f"{prefix}.layers.{index}"
        for projection in ("k_proj", "v_proj", "q_proj", "out_proj"):
            yield f"{layer}.self_attn.{projection}.weight", (width, width)
            yield f"{layer}.self_attn.{projection}.bias", (width,)
        yield from _affine(f"{layer}.layer_norm1", width)
        yield from {
            f"{layer}.mlp.fc1.weight": (4 * width, width),
            f"{layer}.mlp.fc1.bias": (4 * width,),
            f"{layer}.mlp.fc2.weight": (width, 4 * width),
            f"{layer}.mlp.fc2.bias": (width,),
        }.items()
        yield from _affine(f"{layer}.layer_norm2", width)


def _resnet18() -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "conv1.weight", (64, 3, 7, 7)
    yield from _affine("bn1", 64)
    inputs = 64
    for stage, width in enumerate((64, 128, 256, 512), start=1):
        for index in range(2):
            block = f"layer{stage}.{index}"
            yield f"{block}.conv1.weight", (width, inputs, 3, 3)
            yield from _affine(f"{block}.bn1", width)
            yield f"{block}.conv2.weight", (width, width, 3, 3)
            yield from _affine(f"{block}.bn2", width)
            if inputs != width:
                yield f"{block}.downsample.0.weight", (width, inputs, 1, 1)
                yield from _affine(f"{block}.downsample.1", width)
            inputs = width
    yield from {"fc.weight": (1000, 512), "fc.bias": (1000,)}.items()


def _affine(name: str, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield from {f"{name}.weight": (width,), f"{name}.bias": (width,)}.items()


#: Models by the name that the options use.
BY_NAME: dict[str, Callable[[], Shapes]] = {
    "squares": lambda: squares(16),
    "vit-b32": clip_vit_b32,
    "resnet18": resnet18,
    "small": lambda: squares(8, 256),
}
