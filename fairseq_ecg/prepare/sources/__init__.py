"""The archives that ECGs come from, each in a module of its own."""
