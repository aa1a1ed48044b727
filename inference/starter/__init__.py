"""The starter detector: a small model that ships with Vigil so that it runs before anything is downloaded."""
