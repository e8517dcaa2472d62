"""Backbones and image sizes ranked by what a head on their frozen features is worth."""
