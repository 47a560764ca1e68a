package main

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"time"

	"trainer/fault"
	"trainer/files/atomicfile"
)

// lockWithin is how long another run may take to let go of a folder: a worker whose
// launcher was killed ends on its own.
const lockWithin = 10 * time.Second

// lockFolder keeps other runs out of an output folder for as long as the file, which the
// worker inherits, is open in any process; it waits so long for another run to end. It is
// nil where there is no folder yet. File systems that know no locks are left to their ways.
func lockFolder(dir string, within time.Duration) (*os.File, error) {
	f, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, atomicfile.Error(dir, err)
	}
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil || !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return f, nil
		}
		if time.Since(began) > within {
			_ = f.Close() // only locked
			return nil, &fault.Error{Kind: fault.Usage, Where: "--output_dir " + dir, Found: "another run that is using it", Want: "none",
				Remedy: "wait for its end, or choose another --output_dir"}
		}
	}
}
