"""Form verdicts on real people's landmarks: references, rules and networks under grouped cross-validation."""
