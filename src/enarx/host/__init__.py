"""What a host runs: it launches Keeps and carries their bytes. Nothing here is trusted by a tenant."""
