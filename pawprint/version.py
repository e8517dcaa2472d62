"""The version, once: the package is built with it, and ``pawprint --version`` prints it."""

VERSION = "0.1.0.dev0"
