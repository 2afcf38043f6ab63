"""Running XGBoost's models by the library of the installed wheel."""
