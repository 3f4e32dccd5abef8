"""Pictures become the network's input: in processes of their own, bounded in time and number."""
