"""What lies on disk, whole or not at all: model versions, checkpoints, the archive, the keyring."""
