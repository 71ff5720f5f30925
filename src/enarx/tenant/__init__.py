"""What the workload owner runs: the policy, and the Steward that decides by it."""
