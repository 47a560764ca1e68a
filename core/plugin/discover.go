package plugin

import (
	"sync"
	"time"
)

// ProbeTimeout is how long a backend may take to load, answer the query and describe its
// devices.
const ProbeTimeout = 10 * time.Second

// Options say where to look for backends.
type Options struct {
	Paths   []string      // files or folders of --backend_path, before all others
	Timeout time.Duration // of one trial; 0 = ProbeTimeout
}

// Discover looks at every file that could be a backend and takes each through the stages:
// found, permissions, format, manifest, border version, entry symbol, CPU features,
// libraries it needs, and a trial in a child process, all trials side by side. No code of
// a backend runs in this process. The child is this program again: its main must begin
// with RunProbeIfChild. Candidates come in the order in which they would be taken.
func Discover(o Options) []Candidate {
	if o.Timeout <= 0 {
		o.Timeout = ProbeTimeout
	}
	all := found(o)
	shadow(all)
	var wait sync.WaitGroup
	for i := range all {
		c := &all[i]
		if c.Reason != ReasonFound {
			continue
		}
		real, img, err := c.inspect()
		if err != nil {
			c.settle(err)
			continue
		}
		wait.Go(func() { c.try(real, img, o.Timeout) })
	}
	wait.Wait()
	return all
}

// shadow settles later candidates of a name.
func shadow(all []Candidate) {
	first := map[string]string{}
	for i := range all {
		c := &all[i]
		if c.Reason != ReasonFound {
			continue
		}
		if path, taken := first[c.Name]; taken {
			c.settle(refuse(ReasonShadowed, "%s has the same name and comes first", path))
			continue
		}
		first[c.Name] = c.Path
	}
}

// try runs the trial and settles the candidate for good.
func (c *Candidate) try(real string, img image, timeout time.Duration) {
	devices, err := probe(real, timeout)
	if err != nil {
		c.settle(img.explain(real, err))
		return
	}
	c.Devices, c.Reason = devices, ReasonOK
	c.Sentence = "works"
}
