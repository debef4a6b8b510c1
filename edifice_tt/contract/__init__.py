"""What the library and a plugin promise each other. Names no tensor and no model."""
