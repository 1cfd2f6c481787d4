"""What is asked (YAML), and running what is missing."""
