"""Running estimators of scikit-learn."""
