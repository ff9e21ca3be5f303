"""Pure rules: statistics of what was measured, and the choice with a sentence for every loser."""
