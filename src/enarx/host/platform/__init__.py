"""What this machine can launch Keeps with: facts read from it, judged per kind of Keep, each with what to do."""
