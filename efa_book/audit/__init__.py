"""What the paper, its released code and its annotations say, measured again."""
