// Package config is the room of settings: what can be set for a run, what each setting is
// called, its default and bounds, and how settings are read from flags and files and
// written to run.yaml. One table describes each setting once; flags, files, help and
// completion come from it.
//
// Text a person typed enters and leaves as a checked Config or as a *fault.Error. Devices,
// models, data and the command line's own machinery do not enter.
package config
