"""Measures of a model's outputs, one file each: pure functions of logits and labels, or of accuracies."""
