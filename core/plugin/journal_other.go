//go:build !linux

package plugin

import (
	"errors"
	"fmt"
	"os"
)

// NewJournal makes the file of a journal, for a child process to inherit. It has no name.
func NewJournal() (*os.File, error) {
	f, err := os.CreateTemp("", "trainer-journal-*")
	if err != nil {
		return nil, fmt.Errorf("make a journal: %w", err)
	}
	_, err = f.Write(make([]byte, journalBytes)) // so that the disk cannot be full later
	return f, errors.Join(err, os.Remove(f.Name()))
}
