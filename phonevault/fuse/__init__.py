"""The FUSE kernel protocol (linux/fuse.h, protocol 7.31 and later) spoken directly."""
