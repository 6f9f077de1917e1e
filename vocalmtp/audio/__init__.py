"""Waveforms: files, spectra, fundamental frequency and word times."""
