// Package atomicfile writes files, and folders of them, so that after a crash, a full disk
// or a power cut either the old or the new content is there, whole: temporary name, fsync,
// rename, fsync of the parent. It also prepares output folders. It knows no format.
package atomicfile
