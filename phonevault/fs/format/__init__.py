"""What lies on the disk (docs/format.md 2 to 4): names, directory ids, file headers, offsets. Pure, no I/O."""
