"""How much memory this process takes at most, where the system tells (Linux)."""

from __future__ import annotations

from pathlib import Path

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
