"""The stored feature maps below the drop line: encoded, bounded, keyed, disposable."""
