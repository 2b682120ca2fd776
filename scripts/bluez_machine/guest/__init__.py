"""What runs inside the machine, with the host's own Python."""
