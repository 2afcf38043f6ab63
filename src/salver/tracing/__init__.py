"""What became of a request, stage by stage: noted while it is answered, told afterwards."""
