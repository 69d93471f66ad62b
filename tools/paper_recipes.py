"""Writes the recipes of the NegMerge paper's tables: they differ in a word or a number each.

    python tools/paper_recipes.py [FOLDER]

FOLDER is python/negmerge/recipes/paper by default. What the paper leaves open, and what reproductions of it
report instead, is said in the recipes.
"""

from __future__ import annotations

import sys
from pathlib import Path

from negmerge.data import DATA_SETS

FOLDER = Path(__file__).parents[1] / "python" / "negmerge" / "recipes" / "paper"

#: Backbones by the name of their files: open_clip's name.
BACKBONES = {
    "vit-b-32": "ViT-B-32-quickgelu",
    "vit-b-16": "ViT-B-16-quickgelu",
    "vit-l-14": "ViT-L-14-quickgelu",
}
#: Passes that a step of 128 images takes, where it is not one.
ACCUMULATION = {"vit-l-14": 2}
#: Epochs of fine-tuning with RandAugment in the released code.
EPOCHS = {
    "stanford-cars": 70,
    "dtd": 100,
    "eurosat": 40,
    "gtsrb": 40,
    "mnist": 30,
    "resisc45": 40,
    "sun397": 40,
    "svhn": 30,
}

#: Ends of the names of files: rows of table 1, what is said of the pool and of attention, and the last key of
#: the pool. The released code leaves attention alone in one of these kinds only.
KINDS = {
    "": (
        "table 1",
        "The pool is the released code's.",
        "Attention is left alone; the paper is silent on it.",
        "freeze: attention",
    ),
    "-linear": (
        "table 1, linear",
        "What the pool was trained with is not known: settings of the other rows.",
        "Attention is trained, too.",
        "linearised: true",
    ),
}
#: What is said of splits and class names, where it is not :data:`RELEASED`.
OURS = {
    "eurosat": "Search is the released code's. Splits have its sizes; class names are worded anew.",
    "gtsrb": "Search and splits are the released code's; class names are worded anew.",
}
RELEASED = "Search and splits are the released code's."
#: Backbones of which the paper has linear rows that are known.
LINEAR = ("vit-b-32",)

CLIP = """\
# NegMerge, {table}: CLIP {architecture} forgets {data_set}, ImageNet is retained.
# {pool} {attention}
# {splits}
# Data: {data}. Needs a GPU.

name: clip-{backbone}{kind}-{data_set}
threads: 8

data: {{name: {data_set}, validation: paper}}
retain: [imagenet]

model:
  name: open_clip/{architecture}
  pretrained: openai

# 3 x 10 = 30 fine-tunings.
pool:
  epochs: {epochs}
  batch_size: 128{accumulation}
  learning_rate: 0.00001
  weight_decay: 0.1
  warm_up: 500
  resized_crop: 0.08
  flip: true
  randaugment_n: [1, 2, 3]
  randaugment_m: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
  {last}

search:
  objective: forget
  retain_ratio: 0.95
  points: 21
  refinements: 0
  limit: 1.0

methods: [single, uniform, greedy, ties, magmax, conflict, negmerge]
"""

#: Architectures of the classifier tables by the name of their files: ours, and learning rates of base and
#: pool.
CLASSIFIERS = {"resnet18": ("resnet18", 0.1, 0.05), "vgg16": ("vgg16_bn", 0.1, 0.01)}

CLASSIFIER = """\
# NegMerge, {table}: {architecture} forgets a tenth of CIFAR-10's training images.
# The base is SalUn's. The pool has the paper's epochs, weight decays and label smoothings; learning rate,
# augmentation, clipping and the rule for the coefficient were not found: reproductions' words, or our choice.
# Data: negmerge data get cifar10. Needs a GPU.

name: cifar10-{name}-random
threads: 8

data: {{name: cifar10, validation: salun}}
forget: {{fraction: 0.1}}

model: {{name: {architecture}}}

training:
  epochs: 182
  batch_size: 256
  optimizer: sgd
  learning_rate: {base_rate}
  momentum: 0.9
  weight_decay: 0.0005
  warm_up: 0
  schedule: steps
  milestones: [91, 136]
  decay: 0.1
  clip: null
  crop: 4
  flip: true

# 3 x 3 x 3 = 27 fine-tunings.
pool:
  epochs: [40, 50, 60]
  batch_size: 256
  optimizer: sgd
  learning_rate: {pool_rate}
  momentum: 0.9
  weight_decay: [0.0001, 0.00005, 0.00001]
  label_smoothing: [0.0, 0.05, 0.1]
  warm_up: 0
  clip: 1.0
  crop: 4
  flip: true

search:
  objective: gap
  points: 21
  refinements: 1
  limit: 2.0

methods: [retrain, single, uniform, greedy, ties, magmax, conflict, negmerge]
"""


def recipes() -> dict[str, str]:
    """Texts by file name."""
    texts = {
        f"clip-{backbone}{kind}-{data_set}.yaml": CLIP.format(
            backbone=backbone,
            kind=kind,
            architecture=architecture,
            data_set=data_set,
            epochs=epochs,
            table=table,
            pool=pool,
            attention=attention,
            splits=OURS.get(data_set, RELEASED),
            data=(
                f"negmerge data get {data_set}; ImageNet by hand"
                if DATA_SETS.get(data_set).can_be_fetched
                else f"{data_set} and ImageNet by hand, as negmerge data get says"
            ),
            last=last,
            accumulation=f"\n  accumulation: {ACCUMULATION[backbone]}" if backbone in ACCUMULATION else "",
        )
        for backbone, architecture in BACKBONES.items()
        for kind, (table, pool, attention, last) in KINDS.items()
        if not kind or backbone in LINEAR
        for data_set, epochs in EPOCHS.items()
    }
    tables = {"resnet18": "table 2", "vgg16": "appendix"}
    for name, (architecture, base_rate, pool_rate) in CLASSIFIERS.items():
        texts[f"cifar10-{name}-random.yaml"] = CLASSIFIER.format(
            name=name,
            architecture=architecture,
            base_rate=base_rate,
            pool_rate=pool_rate,
            table=tables[name],
        )
    return texts


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in recipes().items():
        (folder / file).write_text(text, encoding="utf-8")
