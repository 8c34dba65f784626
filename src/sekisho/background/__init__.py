"""What the control plane does by itself: background work, the log's sequence, publishing."""
