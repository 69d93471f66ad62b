"""What the unlearning pipeline raises on purpose, beside the errors of :mod:`negmerge_ext.errors`."""

from __future__ import annotations

from negmerge_ext.errors import InputError, NegmergeError


class RecipeError(InputError):
    """A recipe cannot be read, or says something that is not known or not possible."""


class DataError(InputError):
    """A data set, or what a recipe selects from it, is not usable."""


class BusyError(NegmergeError):
    """Another process is at work in the folder of a run."""


class TrainingError(NegmergeError):
    """A training did not give a usable model."""
