package plugin

import "path/filepath"

// Examine takes one file through every stage, the trial in a child process included,
// whatever its name is.
func Examine(path string) Candidate {
	c := Candidate{Path: path, Reason: ReasonFound}
	if absolute, err := filepath.Abs(path); err == nil {
		c.Path = absolute
	}
	c.Name, _ = backendName(c.Path)
	real, img, err := c.inspect()
	if err != nil {
		c.settle(err)
		return c
	}
	c.try(real, img, ProbeTimeout)
	return c
}
