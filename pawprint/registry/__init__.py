"""Tables of names that stand once: models and backbones."""
