"""Everything of a tree encrypted anew: contents, names, links, extended attributes (docs/format.md 1.8)."""
