"""Where cells are measured: processes of this machine or workers of Dask, and on which device."""
