"""The phone side: store, cryptographic module, security manager, agent and `phonevault-phone`."""
