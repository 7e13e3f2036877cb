"""What a person wants to see of a computation: how it was done, and how its slopes come about."""
