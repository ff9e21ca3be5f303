"""Networks that learn: a graph as a torch module, and objectives that need no labels. Child side; needs the extra `[torch]`, so nothing here is imported before a step asks for it."""
