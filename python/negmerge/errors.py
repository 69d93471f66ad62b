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


class NonFiniteWeightsError(InputError):
    """A model has weights that are NaN or infinite: what it answers means nothing."""


class MissingDataError(DataError):
    """A data set is not where it was looked for."""


class CorruptImageError(DataError):
    """An image file cannot be decoded."""


class ChecksumError(DataError):
    """Data differs from what was published: its SHA-256 is another one."""


class FetchError(NegmergeError):
    """Data could not be fetched."""


class NetworkError(FetchError):
    """A server could not be reached, or does not have what it was asked for."""


class MissingToolError(FetchError):
    """A program that fetches data is not installed."""


class UnavailableError(FetchError):
    """Every way to a data set failed; ``problems`` holds the error of each."""
