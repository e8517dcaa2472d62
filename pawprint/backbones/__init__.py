"""Pretrained networks, and how their weights get into them."""
