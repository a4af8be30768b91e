"""What agents share: locks, barriers, maps, queues and tasks."""
