"""One open file's contents under the vault's cipher."""
