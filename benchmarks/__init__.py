"""What the documentation quotes, measured: `make bench`."""
