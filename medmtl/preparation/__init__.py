"""From a volume to what the network sees, and the way back."""
