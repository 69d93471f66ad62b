"""How much memory this process takes at most: main memory where the system tells (Linux), and a GPU's."""

from __future__ import annotations

from pathlib import Path

import torch

#: Writing 5 here sets the peak back to what is resident now.
_RESET = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


class PeakMemory:
    """The largest resident memory of this process since the object was made, its threads included."""

    def __init__(self) -> None:
        try:
            _RESET.write_text("5")
            self._measures = True
        except OSError:
            self._measures = False

    @property
    def nbytes(self) -> int | None:
        """Bytes; ``None`` where the system does not tell, or does not let the peak be set back."""
        if not self._measures:
            return None
        try:
            lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
        except OSError:
            return None
        peak = next((line.split()[1] for line in lines if line.startswith("VmHWM:")), None)
        return None if peak is None else 1024 * int(peak)


class PeakDeviceMemory:
    """The most memory that tensors of this process took on a GPU since the object was made.

    torch counts what its allocator has given out; the CUDA context and what the allocator keeps for later
    come on top.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device if device.type == "cuda" else None
        if self._device is not None:
            torch.cuda.reset_peak_memory_stats(self._device)

    @property
    def nbytes(self) -> int | None:
        """Bytes; ``None`` on a CPU."""
        return None if self._device is None else torch.cuda.max_memory_allocated(self._device)
