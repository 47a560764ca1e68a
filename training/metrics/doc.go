// Package metrics is the room where a run's numbers become something to look at:
// the lines of metrics.jsonl, the loss curves, the live line.
//
// Finished numbers enter. Nothing here computes a loss, reads a device or decides
// anything about a run.
package metrics
