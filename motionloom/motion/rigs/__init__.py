"""Characters of other people: reading them, telling their bones, moving motions onto them, saying how well it went."""
