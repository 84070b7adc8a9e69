"""OpenCV helpers that know no method of ours."""
