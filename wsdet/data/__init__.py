"""Datasets: one module a layout on disk, each turning it into what `wsdet.types.Dataset` says."""
