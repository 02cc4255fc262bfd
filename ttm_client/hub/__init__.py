"""Uploads of students to a model repository of the Hugging Face Hub."""
