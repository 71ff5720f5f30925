"""QEMU as a driver of virtual machines: exact command lines, a child that dies with us, its monitor and its console."""
