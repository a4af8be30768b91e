"""The primitives as tools of a model."""
