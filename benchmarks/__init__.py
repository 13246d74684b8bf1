"""How fast the service is, measured beside two others that answer the same: `make bench`."""
