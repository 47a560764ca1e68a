// Package atomicfile writes files so that after a crash, a full disk or a power cut either
// the old or the new content is there, whole: temporary file, fsync, rename, fsync of the
// folder. It also prepares output folders. It knows no format.
package atomicfile
