"""Running OpenVINO's models by its installed wheel."""
