"""Small trained models in numpy, as localizers use them: no torch needed to load, check and apply one."""
