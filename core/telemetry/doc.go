// Package telemetry reads what a device measures of itself, beside the backends and without
// their knowing: memory in use by everybody, power, temperature, clocks.
//
// Builds with cgo and the tag telemetry read NVIDIA devices through go-nvml, whose library is
// opened when the program runs; `make telemetry` makes one. All other builds have none, and
// say so.
//
// What may enter: readings of a device by its UUID. What may not: anything a run depends on.
package telemetry
