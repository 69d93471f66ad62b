"""State dicts and modules: their tensors as plain memory, as sources and as targets of a merge."""
