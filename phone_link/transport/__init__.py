"""Byte streams opened by a spec string; see `open.py` for the schemes. Imports nothing heavy."""

from phone_link.transport.base import Listener, Stream, TransportOptions
from phone_link.transport.open import connect, listen

__all__ = ["Listener", "Stream", "TransportOptions", "connect", "listen"]
