"""Data: reading raw files, downloads, prepared splits, augmentation."""
