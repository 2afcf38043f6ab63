"""What a platform asks of a server: health, metrics, administration, profiles, reflection."""
