"""The reward server: one engine behind HTTP, in its own protocol and in those that trainers speak."""
