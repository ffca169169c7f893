"""Files, data lists, loading, transforms, augmentation: from a path to what a network sees."""
