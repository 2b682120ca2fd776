"""The command line: the only place of `phonevault` that prints."""
