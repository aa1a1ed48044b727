"""What others may rely on, as documents: JSON Schemas and AsyncAPI, made from the messages' models."""
