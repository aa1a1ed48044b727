"""What a user wants to know about: zones entered and left, lines crossed."""
