// Package safetensors reads and writes safetensors files and model folders of them, one
// file or shards with an index. It reads with pread, never maps a file, and trusts no
// header: sizes, offsets and names are checked before anything is allocated by them. It
// knows tensors by name and dtype; what they mean belongs to the models.
//
// Where the format's text and its readers differ, a file is refused for duplicate names,
// holes, overlaps, bytes after the last tensor and dimensions above 2^48-1; white space
// around the header and members of a tensor it does not know are accepted.
package safetensors
