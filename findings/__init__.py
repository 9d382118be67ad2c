"""What each framework does that differs from the document or from the true derivative: FINDINGS.md, and its proof."""
