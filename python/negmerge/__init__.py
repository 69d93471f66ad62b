"""Machine unlearning by merging: fine-tune a pool, merge it, search the scaling coefficient, evaluate.

``negmerge.pipeline.run(recipe, folder)`` is the whole of it; ``negmerge unlearn RECIPE.yaml`` on the shell.
Importing this package imports nothing heavy: its modules import torch, scikit-learn and matplotlib.
"""
