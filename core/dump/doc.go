// Package dump is the file of a recorded step: what device memory held before it, and the
// lists, params and uploads of the step in order. It is a zip archive of raw little-endian
// bytes with a table of contents in JSON, so that other programs can read it too.
package dump
