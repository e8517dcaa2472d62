"""What a model may decide alone: promises, sets of classes, and when they stop being true."""
