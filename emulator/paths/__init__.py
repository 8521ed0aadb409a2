"""The real paths: how what the engine decides happens to packets of this machine."""
