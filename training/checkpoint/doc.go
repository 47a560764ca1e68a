// Package checkpoint keeps what an interrupted run goes on from: folders checkpoint-N in
// which everything stands that the step after step N depends on.
//
// A checkpoint is written into a temporary folder, every file of it durably; last comes a
// manifest with the size and SHA-256 of each; then the folder gets its name. So one that is
// seen is whole, and one that was damaged later shows, and an older one is taken.
//
// What may enter: the protocol, and what is said about a run besides its tensors. What may
// not: how tensors are read from a device, and flags.
package checkpoint
