"""Running TFLite models through the interpreter of the installed LiteRT wheel."""
