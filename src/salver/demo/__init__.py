"""Small models that come with the package, for `salver demo` and for the documentation."""
