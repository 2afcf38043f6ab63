"""Between JSON, protobuf or tf.Example and arrays, both ways."""
