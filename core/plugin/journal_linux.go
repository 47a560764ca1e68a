package plugin

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// NewJournal makes the file of a journal, for a child process to inherit. It has no name and
// takes no disk.
func NewJournal() (*os.File, error) {
	fd, err := unix.MemfdCreate("trainer-journal", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a journal: %w", err)
	}
	f := os.NewFile(uintptr(fd), "journal")
	return f, f.Truncate(journalBytes)
}
