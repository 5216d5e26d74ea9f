"""The command line: ``main`` reads the arguments, one module carries out each command."""
