"""The REST APIs in words that programs read: OpenAPI, made of what each API says of its routes."""
