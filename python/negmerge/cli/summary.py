"""What a command did, in a few lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from . import text

if TYPE_CHECKING:
    from negmerge_ext import MergeReport


def merge_summary(report: MergeReport) -> str:
    """The outputs of a merge between files, what was kept, and what it took."""
    done = "verified" if report.verified else "written"
    if report.resumed and not report.bytes_written and not report.verified:
        done = "complete already:"
    elif report.resumed:
        done = f"resumed, {done}"
    device = "" if report.device == "cpu" else f", on {report.device}"
    rate = f" ({text.size(report.bytes_read / report.seconds)}/s)" if report.seconds else ""
    return "\n".join(
        [
            *(f"{done} {path}" for path in report.outputs),
            f"{report.method}, {report.mode}, scale {report.scale:g}, {text.count(report.models, 'model')}: "
            f"{text.count(len(report.merged), 'tensor')} merged, {len(report.copied):,} copied from the base",
            kept_fractions(
                report.kept_of_merged, report.elements, report.kept_of_model, report.model_elements
            )
            + f"; norm {report.norm:.6g}, max {report.max_abs:.4g}",
            f"read {text.size(report.bytes_read)}, wrote {text.size(report.bytes_written)} in "
            f"{text.seconds(report.seconds)}{rate}, buffers {text.size(report.buffer_bytes)}{device}",
        ]
    )


def patch_summary(description: Mapping[str, Any]) -> str:
    """The origin of a patch, what it keeps, and its size; ``description`` is ``Patch.describe()``."""
    totals = description["totals"]
    return "\n".join(
        [
            f"{description['method']} of {text.count(description['models'], 'model')} "
            f"fine-tuned from {description['base']['name']}",
            kept_fractions(
                totals["kept_fraction_of_patched_elements"],
                totals["elements"],
                totals["kept_fraction_of_model_elements"],
                totals["model_elements"],
            ),
            f"{text.count(len(description['tensors']), 'tensor')}, {text.size(totals['patch_bytes'])}: "
            f"{text.percent(totals['patch_fraction_of_model_bytes'])} of the model's "
            f"{text.size(totals['model_bytes'])}",
        ]
    )


def kept_fractions(of_merged: float, merged: int, of_model: float, model: int) -> str:
    """What entered the merged vector, with both denominators."""
    return (
        f"kept {text.percent(of_merged)} of {text.count(merged)} merged elements, "
        f"{text.percent(of_model)} of all {text.count(model)} elements of the model"
    )
