"""Measures speed, ours and llama.cpp's side by side. Only a cold start's own process prints."""
