"""What every room takes of the machine: command lines, starting Keras, memory, versions, whole files."""
