"""The machine, for every room: command lines, starting Keras, memory, tables, versions, whole files."""
