"""What `binnacle doctor` looks at, one module for each part of a machine and a service."""
