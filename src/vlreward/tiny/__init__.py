"""Small models and pictures that the project makes itself."""
