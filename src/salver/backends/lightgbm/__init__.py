"""Running LightGBM's models by the library of the installed wheel."""
