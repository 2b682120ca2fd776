"""The vault header: slots, wrapping and unwrapping, two copies, epochs. Knows nothing of phones or FUSE."""
