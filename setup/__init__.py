"""Set-up: what a machine is, which environments it gets, and their installation. Standard library only, for any Python from 3.8 on."""
