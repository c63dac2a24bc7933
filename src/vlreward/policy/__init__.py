"""Improving a policy with a reward: sampling, pair building, Mixed Preference Optimization, GRPO rewards."""
