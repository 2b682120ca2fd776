"""phonevault: an encrypted folder that only your phone can open."""

__version__ = "0.1.0"
