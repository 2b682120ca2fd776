"""The encrypted file system: names, contents and tree operations over a ciphertext directory (docs/format.md)."""
