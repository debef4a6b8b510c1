"""This computer: devices, compiler, memory, environment, whole files, one thread at a time."""
