"""im2col of a raster image: pixels in, words of kernel windows out."""
