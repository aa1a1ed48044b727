"""What viewers see of streams, live."""
