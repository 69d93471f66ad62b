"""What checkpoint files score on a recipe's splits, and how far they are from Retrain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from negmerge_ext.checkpoint import Checkpoint as GivenCheckpoint
from negmerge_ext.checkpoint import open_checkpoint

from .base import make_base
from .checkpoint import check_fits, load_given
from .console import Reporter
from .evaluate import Scores
from .file_checksum import sha256_of
from .keys import content_key
from .methods import METHODS, REFERENCE
from .methods.interface import Checkpoint
from .metrics.average_gap import average_gap
from .metrics.measures import Measures
from .models import knows_text
from .pipeline import context_of, opened
from .recipe import Recipe
from .run_folder import RunFolder
from .stage import finished, training_cost
from .task import Task


@dataclass(frozen=True, slots=True)
class EvaluatedFile:
    """What a checkpoint scores.

    sha256: of its weights files. validation, test: accuracies. validation_measures, test_measures: what is
    compared with Retrain; ``None`` if the run has not trained that.
    """

    file: str
    sha256: str
    validation: Scores
    test: Scores
    validation_measures: Measures | None
    test_measures: Measures | None

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> EvaluatedFile:
        """The inverse of :func:`dataclasses.asdict`."""
        measures = {
            name: None if plain[name] is None else Measures.from_dict(plain[name])
            for name in ("validation_measures", "test_measures")
        }
        scores = {name: Scores(**plain[name]) for name in ("validation", "test")}
        return cls(**{**plain, **scores, **measures})


@dataclass(frozen=True, slots=True)
class EvaluatedFiles:
    """Checkpoints in the order in which they were given, and Retrain if the run has it."""

    forgotten: str
    images: dict[str, dict[str, int]]
    checkpoints: tuple[EvaluatedFile, ...]
    retrained: EvaluatedFile | None

    def average_gap(self, one: EvaluatedFile) -> float | None:
        """Of a checkpoint to Retrain on the test split, in [0, 1]."""
        if self.retrained is None or self.retrained.test_measures is None or one.test_measures is None:
            return None
        return average_gap(one.test_measures, self.retrained.test_measures)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, and what follows from it."""
        plain = asdict(self)
        for one, written in zip(self.checkpoints, plain["checkpoints"], strict=True):
            written["average_gap_on_test"] = self.average_gap(one)
        return plain


def evaluate_checkpoints(
    recipe: Recipe, recipe_text: str, root: Path, files: Sequence[Path], reporter: Reporter
) -> EvaluatedFiles:
    """Evaluate checkpoints of the recipe's model on its validation and test splits.

    Where the recipe linearises its pool they are taken for members of that, or merges, except for Retrain.
    Each is recorded in the run's folder ``root`` and not evaluated again. Raises what opening the folder
    does, and subclasses of :class:`~negmerge_ext.errors.InputError` for a file that is no checkpoint of that
    model, before any is evaluated; and :class:`~negmerge.errors.NonFiniteWeightsError` at the first that has
    such weights.
    """
    sources = [open_checkpoint(file) for file in files]
    with opened(recipe, recipe_text, root, overwrite=None) as (task, folder):
        base = Checkpoint(folder.base.file, task.base_key, 0.0)
        # Heads come from the base's text tower; what is linearised is the base.
        if knows_text(recipe.model.name) or recipe.pool.linearised:
            base, task = make_base(task, folder, reporter)
        model = task.build_model()
        for source in sources:
            check_fits(model, source)
        reference = _reference(task, folder, base)

        def evaluated(source: GivenCheckpoint, digest: str) -> EvaluatedFile:
            return _evaluated(source, digest, base, task, folder, reporter, reference)

        # What is recorded is not loaded; what is not comes out of the system's cache, as it was just read.
        found = [evaluated(one, sha256_of(file.path for file in one.files)) for one in sources]
        retrained = None if reference is None else evaluated(open_checkpoint(reference[0]), reference[1])
        return EvaluatedFiles(task.forgotten, task.counts("validation", "test"), tuple(found), retrained)


def _reference(task: Task, folder: RunFolder, base: Checkpoint) -> tuple[Path, str] | None:
    """The checkpoint of Retrain and its SHA-256, if the run has trained it for this recipe."""
    context = context_of(task, folder, base, None)
    (candidate,) = METHODS.get(REFERENCE).candidates(context)
    artefact = folder.trained(candidate.name)
    if training_cost(artefact, candidate.key) is None:
        return None
    return artefact.file, sha256_of([artefact.file])


def _evaluated(
    source: GivenCheckpoint,
    digest: str,
    base: Checkpoint,
    task: Task,
    folder: RunFolder,
    reporter: Reporter,
    reference: tuple[Path, str] | None,
) -> EvaluatedFile:
    measures = reference is not None
    linearised = task.recipe.pool.linearised and not (reference and digest == reference[1])
    artefact = folder.evaluated(digest[:16])
    kind = ["linearised"] if linearised else []
    # What heads belong to, or what is expanded.
    bits = base.sha256 if linearised or knows_text(task.recipe.model.name) else None
    key = content_key("evaluated, finite", digest, base.key, bits, task.division_key, measures, *kind)
    if (recorded := finished(artefact, key, EvaluatedFile.from_dict)) is not None:
        return replace(recorded, file=str(source.path))
    artefact.begin()
    with reporter.stage(f"Evaluating {source.path}", 1) as stage:
        model = load_given(task.build_tuned(base.path) if linearised else task.build_model(), source)
        found = EvaluatedFile(
            file=str(source.path), sha256=digest, **task.evaluation.evaluated(model, measures=measures)
        )
        stage.advance()
    artefact.finish(key, asdict(found))
    return found
