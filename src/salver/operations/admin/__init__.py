"""Administration: the configuration read and changed, models acted on, over REST and gRPC."""
