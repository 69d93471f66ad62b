from typing import Any

runtime_version: int

def devices() -> list[dict[str, Any]]: ...
