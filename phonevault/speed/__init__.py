"""`phonevault speed`: how fast ciphers and folders are on this computer."""
