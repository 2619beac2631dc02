"""What a comparison costs, beside peers that compare tables."""
