"""Measures speed, ours and llama.cpp's side by side. Nothing here prints."""
