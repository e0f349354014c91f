"""The command line for people and CI. It talks to the admin API and to nothing else."""
