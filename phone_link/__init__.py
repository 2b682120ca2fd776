"""The link between a computer and a phone: AT commands, transports, the secure channel, both ends."""
