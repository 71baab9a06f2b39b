"""The words that the HTTP side and the model side share: positions, components, methods. Standard library only, so that a request is
checked at submit by the very grammar that the worker will read it with."""
