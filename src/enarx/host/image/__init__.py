"""The image of a VM Keep: firmware, kernel, initial RAM disk and command line, built from named inputs."""
