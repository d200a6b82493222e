"""What all results have in common, whatever they are results of: they show themselves, and they become tables."""
