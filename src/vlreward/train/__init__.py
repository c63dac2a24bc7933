"""Training: losses, recipes, packs as a data set, and the trainer."""
